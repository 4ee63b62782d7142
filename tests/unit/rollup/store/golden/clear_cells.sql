DELETE
FROM "store"."ride_hour__VERSION" AS a USING touched AS t
WHERE t._level = 'hour' AND "a"."window_start" = "t"."window_start" AND "a"."zone" = "t"."zone" AND "a"."kind" = "t"."kind"
