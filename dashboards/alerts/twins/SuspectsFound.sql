WITH last AS (
  SELECT max(date) AS day FROM metrics.suspect_vehicle_day
)
SELECT count(*)::float8 AS value
FROM last CROSS JOIN LATERAL metrics.suspects(last.day) AS s
WHERE NOT EXISTS (SELECT 1 FROM metrics.suspects(last.day - 1) AS b WHERE b.vehicle = s.vehicle)
HAVING count(*) > 0
