WITH newest AS (
  SELECT firmware, (sum(requested) - sum(open))::float8 AS n, sum(unsuccessful)::float8 AS bad
  FROM metrics.device_command_minute
  WHERE window_start >= date_trunc('minute', now()) - interval '65 minutes'
    AND window_start < date_trunc('minute', now()) - interval '5 minutes'
  GROUP BY firmware
), week AS (
  SELECT firmware, (sum(requested) - sum(open))::float8 AS n, sum(unsuccessful)::float8 AS bad
  FROM metrics.device_command_by_firmware_day
  WHERE window_start >= now() - interval '8 days'
  GROUP BY firmware
), rates AS (
  SELECT h.firmware, h.n, h.bad / nullif(h.n, 0) AS rate,
    CASE WHEN w.n >= 1000 THEN w.bad / w.n ELSE (SELECT sum(bad) / nullif(sum(n), 0) FROM week) END AS usual
  FROM newest AS h LEFT JOIN week AS w USING (firmware)
)
SELECT firmware, rate AS value
FROM rates
WHERE n >= 100
  AND (rate + 4.5 / n - 3 * sqrt(rate * (1 - rate) / n + 2.25 / n ^ 2)) / (1 + 9 / n) > usual + 0.005
