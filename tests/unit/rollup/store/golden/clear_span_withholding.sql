DELETE
FROM "store"."ride_minute__VERSION" AS a
WHERE a.window_start >= %(begin)s AND a.window_start < %(end)s AND NOT EXISTS (
  SELECT
  FROM withheld AS h
  WHERE "a"."window_start" = "h"."window_start" AND "a"."zone" = "h"."zone" AND "a"."kind" = "h"."kind"
)
