SELECT "window_start",
  "zone",
  "kind"
FROM "store"."ride_minute__VERSION"
WHERE window_start = ANY(%(windows)s::timestamptz[])
