SELECT DISTINCT window_start
FROM "store"."ride_minute__VERSION"
WHERE window_start = ANY(%(windows)s::timestamptz[]) AND '(other)' = ANY(ARRAY["zone", "kind"]::text[])
