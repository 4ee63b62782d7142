-- What each SIM used on each local day, whoever sent it: telemetry and commands. What is rounded by SIM is rounded over both.
CREATE OR REPLACE VIEW metrics.sim_stream_day AS
SELECT window_start, date, sim, carrier, 'telemetry' AS stream, messages, 0::bigint AS unsized, bytes, provisional
FROM metrics.telemetry_sim_day
UNION ALL
SELECT window_start, date, sim, carrier, 'commands' AS stream, messages, unsized, bytes, provisional
FROM metrics.traffic_sim_day
WHERE messages > 0;

CREATE OR REPLACE VIEW metrics.sim_usage_day AS
SELECT
    window_start, date, sim, carrier, sum(messages)::bigint AS messages, sum(unsized)::bigint AS unsized,
    sum(bytes)::bigint AS bytes, bool_or(provisional) AS provisional
FROM metrics.sim_stream_day
GROUP BY window_start, date, sim, carrier;

-- The local months in which anything was counted, and a hash of all that steps by SIM follow from: how often the rows of each
-- month were written, which days are closed, what the views show, the tariffs. While it stays the same, so do the steps.
CREATE OR REPLACE VIEW metrics.sim_month AS
WITH known AS (
    SELECT
        (min(d.first) AT TIME ZONE 'Asia/Seoul')::date AS first,
        (max(d.last) AT TIME ZONE 'Asia/Seoul')::date AS last,
        max(d.first) FILTER (WHERE d.telemetry) AS telemetry,
        max(d.first) FILTER (WHERE d.commands) AS commands
    FROM (
        SELECT min(window_start) AS first, max(window_start) AS last, false AS telemetry, false AS commands
        FROM metrics.traffic_day
        UNION ALL
        SELECT min(window_start), max(window_start), false, true FROM metrics.traffic_sim_day
        UNION ALL
        SELECT min(window_start), max(window_start), false, false FROM metrics.telemetry_traffic_day
        UNION ALL
        SELECT min(window_start), max(window_start), true, false FROM metrics.telemetry_sim_day
    ) AS d  -- of each view by itself, so that an index gives them
),
priced AS (
    SELECT string_agg(
        concat_ws(
            ' ', t.carrier, t.price_class, extract(epoch FROM t.valid_from), extract(epoch FROM t.valid_to), t.rounding,
            t.overhead_bytes, t.step_bytes, t.base_fee > 0
        ),
        chr(10) ORDER BY t.carrier, t.price_class, t.valid_from
    ) AS tariffs
    FROM fleetgauge.tariff AS t
    -- Nothing is read where no tariff charges by SIM.
    HAVING bool_or(t.rounding <> 'message' OR t.base_fee > 0)
)
SELECT
    m.month::date AS month, (m.month + interval '1 month')::date AS following, k.first, k.last,
    md5(concat_ws(
        chr(10), '1', p.tariffs, extract(epoch FROM greatest(k.telemetry, b.begins)), extract(epoch FROM greatest(k.commands, b.begins)),
        (
            SELECT string_agg(
                concat_ws(
                    ' ', v.metric, v.version, extract(epoch FROM v.published_at), v.shape, c.changes,
                    (
                        SELECT string_agg(concat_ws('-', extract(epoch FROM lower(r.span)), extract(epoch FROM upper(r.span))), ',' ORDER BY r.span)
                        FROM unnest(l.closed * tstzmultirange(tstzrange(b.begins, b.ends))) AS r (span)
                    )
                ),
                chr(10) ORDER BY v.metric, v.version
            )
            FROM fleetgauge.metric_version AS v
            LEFT JOIN fleetgauge.ledger AS l ON l.metric = v.metric AND l.version = v.version AND l.grain = 'day'
            LEFT JOIN fleetgauge.day_change AS c ON c.metric = v.metric AND c.version = v.version AND c.month = m.month::date
            WHERE v.metric IN ('telemetry_sim', 'traffic_sim')
        )
    )) AS inputs
FROM known AS k
CROSS JOIN priced AS p
CROSS JOIN LATERAL generate_series(date_trunc('month', k.first::timestamp), k.last::timestamp, interval '1 month') AS m (month)
CROSS JOIN LATERAL (
    SELECT
        fleetgauge.date_start(m.month::date, 'Asia/Seoul') AS begins,
        fleetgauge.date_start((m.month + interval '1 month')::date, 'Asia/Seoul') AS ends
) AS b;

-- Steps that the SIMs of a carrier use on each local day under a tariff, before any pool; rows without a date say how many SIMs
-- a carrier had in the month. Runs keep them (`fleetgauge.stored_month`), for they follow from each day of each SIM; where
-- something has changed since, they are computed here. Say `month = …`.
CREATE OR REPLACE VIEW metrics.sim_step_day AS
SELECT
    m.month, m.inputs, m.kept IS NOT NULL AS stored, c.date, c.carrier, c.valid_from, c.messages, c.unpriced, c.steps, c.sims,
    c.provisional
FROM (
    SELECT i.month, i.following, i.inputs, s.rows AS kept
    FROM metrics.sim_month AS i
    LEFT JOIN fleetgauge.stored_month AS s ON s.name = 'sim_step_day' AND s.month = i.month AND s.inputs = i.inputs
) AS m
CROSS JOIN LATERAL (
    WITH priced AS (
        -- A tariff that charges by SIM, on the days of this month on which it holds: [begins, ends).
        SELECT
            concat_ws('/', t.carrier, nullif(t.price_class, '')) AS carrier, t.valid_from, t.rounding, t.overhead_bytes,
            t.step_bytes, d.begins, d.ends
        FROM fleetgauge.tariff AS t
        CROSS JOIN LATERAL (
            SELECT
                greatest((t.valid_from AT TIME ZONE 'Asia/Seoul')::date, m.month) AS begins,
                least((t.valid_to AT TIME ZONE 'Asia/Seoul')::date, m.following) AS ends
        ) AS d
        WHERE d.begins < d.ends AND (t.rounding <> 'message' OR t.base_fee > 0)
    ),
    used AS (
        SELECT * FROM metrics.sim_usage_day
        WHERE
            m.kept IS NULL
            AND window_start >= fleetgauge.date_start(m.month, 'Asia/Seoul')
            AND window_start < fleetgauge.date_start(m.following, 'Asia/Seoul')
            AND carrier IN (SELECT carrier FROM priced)
    ),
    sim_day AS (
        -- SIMs beyond the dimension's limit cannot be told apart: nothing of theirs has a price.
        SELECT
            u.date, u.sim, t.carrier, t.valid_from, t.rounding, t.step_bytes, u.messages, u.provisional,
            CASE WHEN o.known THEN u.unsized ELSE u.messages END AS unpriced,
            CASE WHEN o.known THEN u.bytes + (u.messages - u.unsized)::numeric * t.overhead_bytes ELSE 0 END AS volume
        FROM used AS u
        JOIN priced AS t ON t.carrier = u.carrier AND t.begins <= u.date AND u.date < t.ends AND t.rounding <> 'message'
        CROSS JOIN LATERAL (SELECT u.sim NOT IN ('(other)', '(not set)') AS known) AS o
    ),
    stepped AS (
        SELECT
            s.*,
            CASE
                WHEN s.rounding = 'sim_day' THEN fleetgauge.steps(s.volume, s.step_bytes)
                ELSE fleetgauge.steps(s.until, s.step_bytes) - fleetgauge.steps(s.until - s.volume, s.step_bytes)
            END AS steps
        FROM (
            SELECT v.*, sum(v.volume) OVER (PARTITION BY v.carrier, v.valid_from, v.sim ORDER BY v.date) AS until
            FROM sim_day AS v
        ) AS s
    )
    SELECT
        date, carrier, valid_from, sum(messages) AS messages, sum(unpriced) AS unpriced, sum(steps) AS steps,
        NULL::bigint AS sims, bool_or(provisional) AS provisional
    FROM stepped
    GROUP BY date, carrier, valid_from
    UNION ALL
    SELECT
        NULL, carrier, NULL, NULL, NULL, NULL, count(DISTINCT sim) FILTER (WHERE sim NOT IN ('(other)', '(not set)')), NULL
    FROM used
    GROUP BY carrier
    UNION ALL
    SELECT k.date, k.carrier, k.valid_from, k.messages, k.unpriced, k.steps, k.sims, k.provisional
    FROM jsonb_to_recordset(m.kept) AS k (
        date date, carrier text, valid_from timestamptz, messages numeric, unpriced numeric, steps numeric, sims bigint,
        provisional boolean
    )
) AS c;

-- What is charged by SIM: usage of tariffs that round by SIM and day or month, and base fees, for each local day. A part that
-- is charged by month is that of the day by which it rose: cost to date, less cost to the day before. Say `month = …` to read
-- one month alone, for each is computed by itself.
CREATE OR REPLACE VIEW metrics.sim_charge_day AS
SELECT
    fleetgauge.date_start(c.date, 'Asia/Seoul') AS window_start,
    c.date,
    m.month,
    c.carrier,
    c.charge,
    c.rounding,
    c.currency,
    c.valid_from,
    c.step_bytes,
    c.price,
    c.messages::bigint AS messages,
    c.steps::bigint AS steps,
    c.cost::numeric AS cost,
    c.unpriced_messages::bigint AS unpriced_messages,
    c.sims::bigint AS sims,
    c.provisional
FROM metrics.sim_month AS m
CROSS JOIN LATERAL (
    WITH step AS (
        SELECT date, carrier, valid_from, messages, unpriced, steps, sims, provisional
        FROM metrics.sim_step_day
        WHERE month = m.month
    ),
    tariff AS (
        SELECT
            p.*,
            n.sims AS month_sims,
            -- What all SIMs together may use, in whole steps: each SIM's allowance for its part of the month.
            div(p.allowance_bytes::numeric * n.sims * (p.ends - p.begins), (m.following - m.month)::numeric * p.step_bytes) AS pool
        FROM (
            -- A tariff that charges by SIM, on the days of this month on which it holds: [begins, ends).
            SELECT
                concat_ws('/', t.carrier, nullif(t.price_class, '')) AS carrier, t.valid_from, t.currency, t.rounding,
                t.step_bytes, t.price, t.base_fee, t.allowance_bytes, t.sims, d.begins, d.ends
            FROM fleetgauge.tariff AS t
            CROSS JOIN LATERAL (
                SELECT
                    greatest((t.valid_from AT TIME ZONE 'Asia/Seoul')::date, m.month) AS begins,
                    least((t.valid_to AT TIME ZONE 'Asia/Seoul')::date, m.following) AS ends
            ) AS d
            WHERE d.begins < d.ends AND (t.rounding <> 'message' OR t.base_fee > 0)
        ) AS p
        LEFT JOIN step AS c ON c.carrier = p.carrier AND c.date IS NULL
        CROSS JOIN LATERAL (SELECT coalesce(p.sims, c.sims, 0) AS sims) AS n
    ),
    pooled AS (
        SELECT
            d.*,
            greatest(sum(d.steps) OVER (PARTITION BY d.carrier, d.valid_from ORDER BY d.date) - t.pool, 0) AS until,
            greatest(sum(d.steps) OVER (PARTITION BY d.carrier, d.valid_from ORDER BY d.date) - d.steps - t.pool, 0) AS before,
            t.step_bytes, t.price, t.rounding, t.currency, t.month_sims
        FROM step AS d
        JOIN tariff AS t ON t.carrier = d.carrier AND t.valid_from = d.valid_from
        WHERE d.date IS NOT NULL
    ),
    -- A day is final once every metric that counts traffic by SIM has closed it: the absence of rows proves nothing.
    closed AS (
        SELECT l.metric, range_agg(l.closed) AS spans
        FROM fleetgauge.ledger AS l
        JOIN fleetgauge.metric_version AS v USING (metric, version)
        WHERE v.published_at IS NOT NULL AND l.grain = 'day' AND l.metric IN ('telemetry_sim', 'traffic_sim')
        GROUP BY l.metric
    )
    SELECT
        date, carrier, 'usage' AS charge, rounding, currency, valid_from, step_bytes, price, messages, until - before AS steps,
        (until - before) * price AS cost, unpriced AS unpriced_messages, month_sims AS sims,
        provisional OR (rounding = 'sim_month' AND m.following > m.last)
        OR EXISTS (SELECT FROM closed AS c WHERE NOT c.spans @> fleetgauge.date_start(date, 'Asia/Seoul')) AS provisional
    FROM pooled
    UNION ALL
    SELECT
        d.day::date, carrier, 'base_fee', rounding, currency, valid_from, step_bytes, price, 0, 0,
        month_sims * fleetgauge.share_of_month(base_fee, d.day::date), 0, month_sims, m.following > m.last
    FROM tariff
    CROSS JOIN LATERAL generate_series(greatest(begins, m.first)::timestamp, least(ends - 1, m.last)::timestamp, interval '1 day') AS d (day)
    WHERE base_fee > 0 AND month_sims > 0
) AS c;

COMMENT ON VIEW metrics.sim_month IS
    'Local months in which traffic was counted, with a hash of all that steps by SIM follow from; none where no tariff charges by SIM.';
COMMENT ON COLUMN metrics.sim_month.month IS 'Its first date.';
COMMENT ON COLUMN metrics.sim_month.following IS 'The first date after it.';
COMMENT ON COLUMN metrics.sim_month.first IS 'The first local date on which anything was counted.';
COMMENT ON COLUMN metrics.sim_month.last IS 'The last local date on which anything was counted.';
COMMENT ON COLUMN metrics.sim_month.inputs IS 'While it stays the same, so do the steps of the month.';
COMMENT ON VIEW metrics.sim_step_day IS
    'Steps that the SIMs of a carrier use on each local day, before any pool; rows without a date count the SIMs of the month.';
COMMENT ON COLUMN metrics.sim_step_day.month IS 'The first date of the month that the day lies in.';
COMMENT ON COLUMN metrics.sim_step_day.inputs IS 'Of metrics.sim_month.';
COMMENT ON COLUMN metrics.sim_step_day.stored IS 'Whether the row was kept by a run; else it was computed when it was read.';
COMMENT ON COLUMN metrics.sim_step_day.date IS 'The local date; NULL where the row counts the SIMs of the month.';
COMMENT ON COLUMN metrics.sim_step_day.carrier IS 'Of the SIM; with a price class it is part of the name.';
COMMENT ON COLUMN metrics.sim_step_day.valid_from IS 'From when on the tariff holds.';
COMMENT ON COLUMN metrics.sim_step_day.messages IS 'Messages over the air.';
COMMENT ON COLUMN metrics.sim_step_day.unpriced IS 'Messages of unknown size, or of a SIM beyond the limit.';
COMMENT ON COLUMN metrics.sim_step_day.steps IS 'Steps that the SIMs use, before any pool.';
COMMENT ON COLUMN metrics.sim_step_day.sims IS 'SIMs of the carrier with traffic in the month, in rows without a date.';
COMMENT ON COLUMN metrics.sim_step_day.provisional IS 'Whether it may still change without being told as a restatement.';
COMMENT ON VIEW metrics.sim_stream_day IS 'What each SIM used on each local day, of telemetry and of commands.';
COMMENT ON VIEW metrics.sim_usage_day IS
    'What each SIM used on each local day, telemetry and commands together: messages, those without a size, payload.';
COMMENT ON VIEW metrics.sim_charge_day IS
    'What is charged by SIM for each local day: usage that is rounded by SIM and day or month, and base fees.';
COMMENT ON COLUMN metrics.sim_stream_day.window_start IS 'The beginning of the window.';
COMMENT ON COLUMN metrics.sim_stream_day.date IS 'The local date.';
COMMENT ON COLUMN metrics.sim_stream_day.sim IS 'ICCID.';
COMMENT ON COLUMN metrics.sim_stream_day.carrier IS 'Of the SIM; with a price class it is part of the name.';
COMMENT ON COLUMN metrics.sim_stream_day.stream IS 'telemetry or commands.';
COMMENT ON COLUMN metrics.sim_stream_day.messages IS 'Messages over the air.';
COMMENT ON COLUMN metrics.sim_stream_day.unsized IS 'Messages that do not say their size.';
COMMENT ON COLUMN metrics.sim_stream_day.bytes IS 'Payload, without protocol overhead.';
COMMENT ON COLUMN metrics.sim_stream_day.provisional IS 'Whether it may still change without being told as a restatement.';
COMMENT ON COLUMN metrics.sim_usage_day.window_start IS 'The beginning of the window.';
COMMENT ON COLUMN metrics.sim_usage_day.date IS 'The local date.';
COMMENT ON COLUMN metrics.sim_usage_day.sim IS 'ICCID.';
COMMENT ON COLUMN metrics.sim_usage_day.carrier IS 'Of the SIM; with a price class it is part of the name.';
COMMENT ON COLUMN metrics.sim_usage_day.messages IS 'Messages over the air.';
COMMENT ON COLUMN metrics.sim_usage_day.unsized IS 'Messages that do not say their size.';
COMMENT ON COLUMN metrics.sim_usage_day.bytes IS 'Payload, without protocol overhead.';
COMMENT ON COLUMN metrics.sim_usage_day.provisional IS 'Whether it may still change without being told as a restatement.';
COMMENT ON COLUMN metrics.sim_charge_day.window_start IS 'The beginning of the window.';
COMMENT ON COLUMN metrics.sim_charge_day.date IS 'The local date.';
COMMENT ON COLUMN metrics.sim_charge_day.month IS 'The first date of the month that the day lies in.';
COMMENT ON COLUMN metrics.sim_charge_day.carrier IS 'Of the SIM; with a price class it is part of the name.';
COMMENT ON COLUMN metrics.sim_charge_day.charge IS 'usage, or base_fee of the SIMs.';
COMMENT ON COLUMN metrics.sim_charge_day.rounding IS 'What is rounded up to whole steps: message, sim_day or sim_month.';
COMMENT ON COLUMN metrics.sim_charge_day.currency IS 'Of price and cost.';
COMMENT ON COLUMN metrics.sim_charge_day.valid_from IS 'From when on the tariff holds.';
COMMENT ON COLUMN metrics.sim_charge_day.step_bytes IS 'Bytes of one billed step.';
COMMENT ON COLUMN metrics.sim_charge_day.price IS 'Of one step, in currency.';
COMMENT ON COLUMN metrics.sim_charge_day.messages IS 'Messages over the air.';
COMMENT ON COLUMN metrics.sim_charge_day.steps IS 'Steps that are billed.';
COMMENT ON COLUMN metrics.sim_charge_day.cost IS 'What it costs, in currency.';
COMMENT ON COLUMN metrics.sim_charge_day.unpriced_messages IS 'Messages without a tariff in KRW, or without a known size: in no cost.';
COMMENT ON COLUMN metrics.sim_charge_day.sims IS 'SIMs of the month.';
COMMENT ON COLUMN metrics.sim_charge_day.provisional IS 'Whether it may still change without being told as a restatement.';
