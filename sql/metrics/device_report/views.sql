-- Each device's day beside its own usual ones: those of the two weeks before on which it reported. A device that reports nothing
-- on a day has a row too, as long as it reported within the two weeks before. Silent is who has been quiet, at the end of the
-- day, for three times its own period, and for an hour at least. The period is the mean time between its reports, or how long
-- it is usually quiet by the end of a day (three days in four are quieter no longer), whichever is longer: who reports once
-- a day, or every third one, has been quiet for hours or days at midnight, and who reports every minute has not.

CREATE OR REPLACE VIEW metrics.device_silence_day AS
SELECT
    d.window_start,
    d.date,
    k.device,
    coalesce(m.reports, 0) AS reports,
    k.usual_reports,
    round(coalesce(m.reports, 0) / k.usual_reports, 3) AS share_of_usual,
    d.provisional,
    h.heard_at,
    h.quiet_s,
    round(k.period_s)::bigint AS period_s,
    h.quiet_s >= greatest(3 * k.period_s, 3600) AS silent
FROM (
    SELECT window_start, date, fleetgauge.date_start(date + 1, 'Asia/Seoul') AS window_end, bool_or(provisional) AS provisional
    FROM metrics.device_report_day
    GROUP BY 1, 2
) AS d
CROSS JOIN LATERAL (
    SELECT
        u.device, avg(u.reports) AS usual_reports, max(u.heard_at) AS heard_at,
        greatest(
            86400 / avg(u.reports),
            coalesce(percentile_disc(0.75) WITHIN GROUP (ORDER BY u.quiet_s), min(u.rest_s))
        ) AS period_s
    FROM (
        -- Until the next day with a report, but that of the last day: it may be the silence that is to be judged.
        SELECT
            r.device, r.reports, r.heard_at,
            extract(epoch FROM lead(r.window_start) OVER (PARTITION BY r.device ORDER BY r.window_start) - r.heard_at) AS quiet_s,
            extract(epoch FROM r.window_end - r.heard_at) AS rest_s
        FROM (
            SELECT b.device, b.reports, b.window_start, e.window_end, coalesce(to_timestamp(b.heard / 1000.0), e.window_end) AS heard_at
            FROM metrics.device_report_day AS b
            CROSS JOIN LATERAL (SELECT fleetgauge.date_start(b.date + 1, 'Asia/Seoul') AS window_end) AS e
            WHERE b.window_start >= d.window_start - interval '14 days' AND b.window_start < d.window_start
        ) AS r
    ) AS u
    GROUP BY u.device
) AS k
LEFT JOIN metrics.device_report_day AS m ON m.window_start = d.window_start AND m.device = k.device
CROSS JOIN LATERAL (
    SELECT s.heard_at, extract(epoch FROM d.window_end - s.heard_at)::bigint AS quiet_s
    FROM (
        SELECT CASE
            WHEN m.reports > 0 THEN coalesce(to_timestamp(m.heard / 1000.0), d.window_end)
            ELSE k.heard_at
        END AS heard_at
    ) AS s
) AS h;

COMMENT ON VIEW metrics.device_silence_day IS
    'Reports of each device and day beside its own usual day, and whether it is silent by the period in which it reports.';

COMMENT ON COLUMN metrics.device_silence_day.usual_reports IS 'Reports of its usual day.';
COMMENT ON COLUMN metrics.device_silence_day.share_of_usual IS 'Reports of this day, of those of its usual one.';
COMMENT ON COLUMN metrics.device_silence_day.heard_at IS
    'Its last report up to the end of the day (device clock); of days that do not say it their end.';
COMMENT ON COLUMN metrics.device_silence_day.quiet_s IS 'Seconds from its last report to the end of the day.';
COMMENT ON COLUMN metrics.device_silence_day.period_s IS
    'Seconds for which it is usually quiet: the mean time between its reports, or how long it is quiet by the end of a day, the longer of both.';
COMMENT ON COLUMN metrics.device_silence_day.silent IS
    'Whether it has been quiet for three times its own period, and for an hour at least.';
