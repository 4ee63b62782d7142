INSERT INTO touched (_level, window_start, _window_end, "zone")
SELECT 'by_zone_hour',
  _s,
  fleetgauge.window_end(_s, 'hour', 'Asia/Seoul'),
  "zone"
FROM (
  SELECT DISTINCT fleetgauge.window_start(window_start, 'hour', 'Asia/Seoul') AS _s,
    "zone"
  FROM touched
  WHERE _level = 'hour'
) AS above
