WITH counted AS (
  SELECT
    coalesce(sum(events) FILTER (WHERE window_start >= now() - interval '20 minutes'), 0)::float8 AS newest,
    sum(events) FILTER (WHERE window_start < now() - interval '23 hours')::float8 AS yesterday
  FROM metrics.telemetry_minute
  WHERE (window_start >= now() - interval '20 minutes' AND window_start < now() - interval '5 minutes')
    OR (window_start >= now() - interval '1460 minutes' AND window_start < now() - interval '1445 minutes')
)
SELECT newest AS value FROM counted WHERE newest < 0.25 * yesterday OR newest = 0
