INSERT INTO replaced (_level, "window_start", "zone", "kind", "n", "amount", "most", "score", "riders", "latest", "latest_at", "sizes", "sizes_unknown")
SELECT 'hour',
  "window_start",
  "zone",
  "kind",
  "n",
  "amount",
  "most",
  "score",
  "riders",
  "latest",
  "latest_at",
  "sizes",
  "sizes_unknown"
FROM (
  SELECT b.*
  FROM touched AS t
  JOIN "store"."ride_hour__VERSION" AS b ON b."window_start" = t."window_start" AND b."zone" = t."zone" AND b."kind" = t."kind"
  WHERE t._level = 'hour' AND t.window_start <@ %(closed)s::tstzmultirange
) AS a
