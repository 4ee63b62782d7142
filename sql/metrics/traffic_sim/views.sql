-- The bill: what each carrier charges for each local day, by all tariffs, as docs/cost.md defines it. Rows of `usage` and
-- `base_fee` add up over days, carriers and charges; `unpriced_messages` counts what has no price. A part that is charged
-- by month is that of the day by which it rose: cost to date, less cost to the day before. Say `month = …` to read one
-- month alone, for each is computed by itself.
CREATE OR REPLACE VIEW metrics.carrier_cost_day AS
WITH known AS (
    SELECT
        (min(window_start) AT TIME ZONE 'Asia/Seoul')::date AS first,
        (max(window_start) AT TIME ZONE 'Asia/Seoul')::date AS last
    FROM (SELECT window_start FROM metrics.traffic_day UNION ALL SELECT window_start FROM metrics.traffic_sim_day) AS d
),
calendar AS (
    SELECT m.month::date AS month, (m.month + interval '1 month')::date AS following, k.first, k.last
    FROM known AS k
    CROSS JOIN LATERAL generate_series(date_trunc('month', k.first::timestamp), k.last::timestamp, interval '1 month') AS m (month)
)
SELECT
    fleetgauge.date_start(c.date, 'Asia/Seoul') AS window_start,
    c.date,
    m.month,
    c.carrier,
    c.charge,
    c.rounding,
    c.currency,
    c.messages::bigint AS messages,
    c.billed_bytes::bigint AS billed_bytes,
    c.cost::numeric AS cost,
    c.unpriced_messages::bigint AS unpriced_messages,
    c.sims::bigint AS sims,
    c.provisional,
    fleetgauge.date_start(c.date + 1, 'Asia/Seoul') AS window_end,
    fleetgauge.date_start(m.month, 'Asia/Seoul') AS month_start,
    fleetgauge.date_start(m.following, 'Asia/Seoul') AS month_end
FROM calendar AS m
CROSS JOIN LATERAL (
    WITH priced AS (
        -- A tariff that charges by SIM, on the days of this month on which it holds: [begins, ends).
        SELECT t.*, d.begins, d.ends, m.following - m.month AS month_days
        FROM fleetgauge.tariff AS t
        CROSS JOIN LATERAL (
            SELECT
                greatest((t.valid_from AT TIME ZONE 'Asia/Seoul')::date, m.month) AS begins,
                least((t.valid_to AT TIME ZONE 'Asia/Seoul')::date, m.following) AS ends
        ) AS d
        WHERE t.price_class = '' AND d.begins < d.ends AND (t.rounding <> 'message' OR t.base_fee > 0)
    ),
    used AS (
        SELECT * FROM metrics.traffic_sim_day
        WHERE
            window_start >= fleetgauge.date_start(m.month, 'Asia/Seoul')
            AND window_start < fleetgauge.date_start(m.following, 'Asia/Seoul')
            AND carrier IN (SELECT carrier FROM priced)
            AND messages > 0
    ),
    counted AS (
        SELECT carrier, count(DISTINCT sim) FILTER (WHERE sim NOT IN ('(other)', '(not set)')) AS sims FROM used GROUP BY carrier
    ),
    tariff AS (
        SELECT
            p.*,
            n.sims AS month_sims,
            -- What all SIMs together may use, in whole steps: each SIM's allowance for its part of the month.
            div(p.allowance_bytes::numeric * n.sims * (p.ends - p.begins), p.month_days::numeric * p.step_bytes) AS pool
        FROM priced AS p
        LEFT JOIN counted AS c USING (carrier)
        CROSS JOIN LATERAL (SELECT coalesce(p.sims, c.sims, 0) AS sims) AS n
    ),
    sim_day AS (
        -- SIMs beyond the dimension's limit cannot be told apart: nothing of theirs has a price.
        SELECT
            u.date, u.sim, t.carrier, t.valid_from, t.rounding, t.step_bytes, u.messages, u.provisional,
            CASE WHEN o.known THEN u.unsized ELSE u.messages END AS unpriced,
            CASE WHEN o.known THEN u.bytes + (u.messages - u.unsized)::numeric * t.overhead_bytes ELSE 0 END AS volume
        FROM used AS u
        JOIN tariff AS t ON t.carrier = u.carrier AND t.begins <= u.date AND u.date < t.ends AND t.rounding <> 'message'
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
    ),
    summed AS (
        SELECT
            date, carrier, valid_from, sum(messages) AS messages, sum(unpriced) AS unpriced, sum(steps) AS steps,
            bool_or(provisional) AS provisional
        FROM stepped
        GROUP BY date, carrier, valid_from
    ),
    pooled AS (
        SELECT
            d.*,
            greatest(sum(d.steps) OVER (PARTITION BY d.carrier, d.valid_from ORDER BY d.date) - t.pool, 0) AS until,
            greatest(sum(d.steps) OVER (PARTITION BY d.carrier, d.valid_from ORDER BY d.date) - d.steps - t.pool, 0) AS before,
            t.step_bytes, t.price, t.rounding, t.currency, t.month_sims
        FROM summed AS d
        JOIN tariff AS t ON t.carrier = d.carrier AND t.valid_from = d.valid_from
    )
    SELECT
        date, carrier, 'usage' AS charge, rounding, currency, messages, (until - before) * step_bytes AS billed_bytes,
        (until - before) * price AS cost, unpriced AS unpriced_messages, month_sims AS sims,
        provisional OR (rounding = 'sim_month' AND m.following > m.last) AS provisional
    FROM pooled
    UNION ALL
    SELECT
        d.day::date, carrier, 'base_fee', rounding, currency, 0, 0,
        month_sims * fleetgauge.share_of_month(base_fee, d.day::date), 0, month_sims, m.following > m.last
    FROM tariff
    CROSS JOIN LATERAL generate_series(greatest(begins, m.first)::timestamp, least(ends - 1, m.last)::timestamp, interval '1 day') AS d (day)
    WHERE base_fee > 0 AND month_sims > 0
    UNION ALL
    SELECT
        c.date, c.carrier, 'usage', 'message', CASE WHEN sum(c.messages - c.unpriced_messages - c.by_sim_messages) > 0 THEN 'KRW' END,
        sum(c.messages - c.by_sim_messages), sum(c.billed_bytes), sum(c.cost_krw), sum(c.unpriced_messages), NULL,
        bool_or(c.provisional)
    FROM metrics.command_cost_day AS c
    WHERE
        c.window_start >= fleetgauge.date_start(m.month, 'Asia/Seoul')
        AND c.window_start < fleetgauge.date_start(m.following, 'Asia/Seoul')
    GROUP BY c.date, c.carrier
    HAVING sum(c.messages - c.by_sim_messages) > 0
) AS c;

-- The same by month.
CREATE OR REPLACE VIEW metrics.carrier_cost_month AS
SELECT
    month, carrier, charge, rounding, currency, sum(messages)::bigint AS messages, sum(billed_bytes)::bigint AS billed_bytes,
    sum(cost) AS cost, sum(unpriced_messages)::bigint AS unpriced_messages, max(sims) AS sims, bool_or(provisional) AS provisional
FROM metrics.carrier_cost_day
GROUP BY month, carrier, charge, rounding, currency;

COMMENT ON VIEW metrics.carrier_cost_day IS 'The bill: what each carrier charges for each local day, by all tariffs.';
COMMENT ON VIEW metrics.carrier_cost_month IS 'The bill by month.';
COMMENT ON COLUMN metrics.carrier_cost_day.window_start IS 'The beginning of the local day.';
COMMENT ON COLUMN metrics.carrier_cost_day.date IS 'The local date.';
COMMENT ON COLUMN metrics.carrier_cost_day.month IS 'The first date of the month that the day lies in.';
COMMENT ON COLUMN metrics.carrier_cost_day.carrier IS 'Who charges it.';
COMMENT ON COLUMN metrics.carrier_cost_day.charge IS 'usage, or base_fee of the SIMs.';
COMMENT ON COLUMN metrics.carrier_cost_day.rounding IS
    'What is rounded up to whole steps: message, sim_day or sim_month.';
COMMENT ON COLUMN metrics.carrier_cost_day.currency IS 'Of cost.';
COMMENT ON COLUMN metrics.carrier_cost_day.messages IS 'Messages that it is about.';
COMMENT ON COLUMN metrics.carrier_cost_day.billed_bytes IS 'Bytes as the carrier bills them.';
COMMENT ON COLUMN metrics.carrier_cost_day.cost IS 'What it costs, in currency.';
COMMENT ON COLUMN metrics.carrier_cost_day.unpriced_messages IS 'Messages that have no price: in no cost.';
COMMENT ON COLUMN metrics.carrier_cost_day.sims IS
    'SIMs that it is about; of a month, so it does not add up over days.';
COMMENT ON COLUMN metrics.carrier_cost_day.provisional IS
    'Whether it may still change without being told as a restatement.';
COMMENT ON COLUMN metrics.carrier_cost_day.window_end IS 'The end of the local day.';
COMMENT ON COLUMN metrics.carrier_cost_day.month_start IS 'The beginning of the local month.';
COMMENT ON COLUMN metrics.carrier_cost_day.month_end IS 'The end of the local month.';
