INSERT INTO replaced (_level, "window_start", "zone", "n", "amount", "most", "score", "riders", "latest", "latest_at", "sizes", "sizes_unknown")
SELECT 'by_zone_hour',
  "window_start",
  "zone",
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
  SELECT *
  FROM "store"."ride_by_zone_hour__VERSION"
  WHERE window_start >= %(begin)s AND window_start < %(end)s AND window_start <@ %(closed)s::tstzmultirange
) AS a
