-- Each device's day beside its own usual one: the mean of the days of the two weeks before on which it reported. A device
-- that reports nothing on a day has a row too, as long as it reported within the two weeks before.

CREATE OR REPLACE VIEW metrics.device_silence_day AS
SELECT
    d.window_start,
    d.date,
    k.device,
    coalesce(m.reports, 0) AS reports,
    k.usual_reports,
    round(coalesce(m.reports, 0) / k.usual_reports, 3) AS share_of_usual,
    d.provisional
FROM (
    SELECT window_start, date, bool_or(provisional) AS provisional FROM metrics.device_report_day GROUP BY 1, 2
) AS d
CROSS JOIN LATERAL (
    SELECT b.device, avg(b.reports) AS usual_reports
    FROM metrics.device_report_day AS b
    WHERE b.window_start >= d.window_start - interval '14 days' AND b.window_start < d.window_start
    GROUP BY b.device
) AS k
LEFT JOIN metrics.device_report_day AS m ON m.window_start = d.window_start AND m.device = k.device;

COMMENT ON VIEW metrics.device_silence_day IS
    'Reports of each device and day beside its own usual day: the mean of the reporting days of the two weeks before.';

COMMENT ON COLUMN metrics.device_silence_day.usual_reports IS 'Reports of its usual day.';
COMMENT ON COLUMN metrics.device_silence_day.share_of_usual IS 'Reports of this day, of those of its usual one.';
