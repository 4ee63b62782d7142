WITH last AS (
  SELECT max(date) AS day FROM metrics.suspect_vehicle_day
), suspects AS (
  SELECT DISTINCT ON (s.vehicle) s.vehicle, s.date, s.suspect
  FROM metrics.suspect_vehicle_day AS s, last
  WHERE s.date > last.day - 14
  ORDER BY s.vehicle, s.date DESC
), before AS (
  SELECT DISTINCT ON (s.vehicle) s.vehicle, s.suspect
  FROM metrics.suspect_vehicle_day AS s, last
  WHERE s.date > last.day - 15 AND s.date < last.day
  ORDER BY s.vehicle, s.date DESC
)
SELECT count(*)::float8 AS value
FROM suspects AS s LEFT JOIN before AS b USING (vehicle), last
WHERE s.suspect AND s.date = last.day AND b.suspect IS NOT TRUE
HAVING count(*) > 0
