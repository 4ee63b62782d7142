INSERT INTO touched (level, window_start, window_end, "zone")
SELECT 'by_zone_hour',
  s,
  fleetgauge.window_end(s, 'hour', 'Asia/Seoul'),
  "zone"
FROM (
  SELECT DISTINCT fleetgauge.window_start(window_start, 'hour', 'Asia/Seoul') AS s,
    "zone"
  FROM touched
  WHERE level = 'hour'
) AS above
