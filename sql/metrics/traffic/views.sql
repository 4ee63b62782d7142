-- What the messages cost, under the tariff in force at the window's start. Prices change on full local hours only, so
-- minutes and hours lie wholly within one price. Cost is that of the messages that have a price of their own, and adds up
-- over any rows. `by_sim_messages` counts those that are charged by SIM and day or month, whose cost is in carrier_cost_*;
-- `unpriced_messages` the others: those without a tariff in KRW, and those that do not say their size, or of which an older
-- version kept none.

CREATE OR REPLACE VIEW metrics.command_cost_minute AS
SELECT
    m.window_start,
    m.command_type,
    m.carrier,
    m.direction,
    m.messages,
    m.bytes,
    CASE WHEN t.rounding = 'message' THEN coalesce(s.steps * t.step_bytes, 0) ELSE 0 END::bigint AS billed_bytes,
    CASE WHEN t.rounding = 'message' THEN coalesce(s.steps * t.price, 0) ELSE 0 END AS cost_krw,
    CASE
        WHEN t.rounding <> 'message' THEN 0
        WHEN t.carrier IS NULL OR m.payload IS NULL THEN m.messages
        ELSE m.payload_unknown
    END AS unpriced_messages,
    m.provisional,
    CASE WHEN t.rounding <> 'message' THEN m.messages ELSE 0 END AS by_sim_messages
FROM metrics.traffic_minute AS m
LEFT JOIN fleetgauge.tariff AS t
    ON t.carrier = m.carrier AND t.price_class = '' AND (t.currency = 'KRW' OR t.rounding <> 'message')
    AND t.valid_from <= m.window_start AND m.window_start < t.valid_to
CROSS JOIN LATERAL (SELECT fleetgauge.billed_steps(m.payload, t.overhead_bytes, t.step_bytes) AS steps) AS s;

CREATE OR REPLACE VIEW metrics.command_cost_hour AS
SELECT
    m.window_start,
    m.command_type,
    m.carrier,
    m.direction,
    m.messages,
    m.bytes,
    CASE WHEN t.rounding = 'message' THEN coalesce(s.steps * t.step_bytes, 0) ELSE 0 END::bigint AS billed_bytes,
    CASE WHEN t.rounding = 'message' THEN coalesce(s.steps * t.price, 0) ELSE 0 END AS cost_krw,
    CASE
        WHEN t.rounding <> 'message' THEN 0
        WHEN t.carrier IS NULL OR m.payload IS NULL THEN m.messages
        ELSE m.payload_unknown
    END AS unpriced_messages,
    m.provisional,
    CASE WHEN t.rounding <> 'message' THEN m.messages ELSE 0 END AS by_sim_messages
FROM metrics.traffic_hour AS m
LEFT JOIN fleetgauge.tariff AS t
    ON t.carrier = m.carrier AND t.price_class = '' AND (t.currency = 'KRW' OR t.rounding <> 'message')
    AND t.valid_from <= m.window_start AND m.window_start < t.valid_to
CROSS JOIN LATERAL (SELECT fleetgauge.billed_steps(m.payload, t.overhead_bytes, t.step_bytes) AS steps) AS s;

-- A day is priced from its own rows, save where a price changes within it: there from its hours.
CREATE OR REPLACE VIEW metrics.command_cost_day AS
WITH bound AS (
    SELECT carrier, valid_from AT TIME ZONE 'Asia/Seoul' AS at_local FROM fleetgauge.tariff
    UNION
    SELECT carrier, valid_to AT TIME ZONE 'Asia/Seoul' FROM fleetgauge.tariff WHERE valid_to < 'infinity'
),
split AS (
    SELECT DISTINCT carrier, at_local::date AS date FROM bound WHERE at_local <> date_trunc('day', at_local)
),
message AS (
    SELECT
        d.window_start, d.date, d.window_start AS priced_at, d.command_type, d.carrier, d.direction,
        d.messages, d.bytes, d.payload, d.payload_unknown, d.provisional
    FROM metrics.traffic_day AS d
    WHERE NOT EXISTS (SELECT FROM split AS p WHERE p.carrier = d.carrier AND p.date = d.date)
    UNION ALL
    SELECT
        fleetgauge.date_start(p.date, 'Asia/Seoul'), p.date, h.window_start, h.command_type, h.carrier, h.direction,
        h.messages, h.bytes, h.payload, h.payload_unknown, h.provisional
    FROM split AS p
    CROSS JOIN LATERAL (
        SELECT * FROM metrics.traffic_hour
        WHERE
            carrier = p.carrier
            AND window_start >= fleetgauge.date_start(p.date, 'Asia/Seoul')
            AND window_start < fleetgauge.date_start(p.date + 1, 'Asia/Seoul')
        OFFSET 0  -- keeps it a look-up by window for each such day, and no join over all hours
    ) AS h
)
SELECT
    m.window_start,
    m.date,
    m.command_type,
    m.carrier,
    m.direction,
    sum(m.messages)::bigint AS messages,
    sum(m.bytes)::bigint AS bytes,
    coalesce(sum(s.steps * t.step_bytes) FILTER (WHERE t.rounding = 'message'), 0)::bigint AS billed_bytes,
    coalesce(sum(s.steps * t.price) FILTER (WHERE t.rounding = 'message'), 0) AS cost_krw,
    sum(CASE
        WHEN t.rounding <> 'message' THEN 0
        WHEN t.carrier IS NULL OR m.payload IS NULL THEN m.messages
        ELSE m.payload_unknown
    END)::bigint AS unpriced_messages,
    bool_or(m.provisional) AS provisional,
    coalesce(sum(m.messages) FILTER (WHERE t.rounding <> 'message'), 0)::bigint AS by_sim_messages
FROM message AS m
LEFT JOIN fleetgauge.tariff AS t
    ON t.carrier = m.carrier AND t.price_class = '' AND (t.currency = 'KRW' OR t.rounding <> 'message')
    AND t.valid_from <= m.priced_at AND m.priced_at < t.valid_to
CROSS JOIN LATERAL (SELECT fleetgauge.billed_steps(m.payload, t.overhead_bytes, t.step_bytes) AS steps) AS s
GROUP BY m.window_start, m.date, m.command_type, m.carrier, m.direction;

-- What `fleetgauge whatif` reads: each day's messages by size, of everything that goes over the air and is counted here.
CREATE OR REPLACE VIEW metrics.traffic_usage_day AS
SELECT
    d.date,
    d.command_type AS subject,
    d.carrier,
    d.direction,
    d.payload,
    (d.messages - coalesce(fleetgauge.tally_count(d.payload), 0))::bigint AS unsized,
    CASE WHEN d.direction = 'downlink' THEN coalesce(c.retries, 0) ELSE 0 END::bigint AS retries,
    d.provisional
FROM metrics.traffic_day AS d
LEFT JOIN (
    SELECT window_start, command_type, carrier, sum(attempts - requested) AS retries
    FROM metrics.device_command_day
    GROUP BY window_start, command_type, carrier
) AS c USING (window_start, command_type, carrier);

COMMENT ON VIEW metrics.command_cost_minute IS
    'What messages of commands cost by the minute, under the tariff in force then.';
COMMENT ON COLUMN metrics.command_cost_minute.billed_bytes IS
    'Bytes as the carrier bills them: each message rounded up to whole steps, with its overhead.';
COMMENT ON COLUMN metrics.command_cost_minute.cost_krw IS 'What the messages cost that have a price of their own, KRW.';
COMMENT ON COLUMN metrics.command_cost_minute.unpriced_messages IS
    'Messages without a tariff in KRW, or without a known size: in no cost.';
COMMENT ON COLUMN metrics.command_cost_minute.by_sim_messages IS
    'Messages that are charged by SIM and day or month, whose cost is in carrier_cost_day.';
COMMENT ON VIEW metrics.command_cost_hour IS
    'What messages of commands cost by the hour, under the tariff in force then.';
COMMENT ON COLUMN metrics.command_cost_hour.billed_bytes IS
    'Bytes as the carrier bills them: each message rounded up to whole steps, with its overhead.';
COMMENT ON COLUMN metrics.command_cost_hour.cost_krw IS 'What the messages cost that have a price of their own, KRW.';
COMMENT ON COLUMN metrics.command_cost_hour.unpriced_messages IS
    'Messages without a tariff in KRW, or without a known size: in no cost.';
COMMENT ON COLUMN metrics.command_cost_hour.by_sim_messages IS
    'Messages that are charged by SIM and day or month, whose cost is in carrier_cost_day.';
COMMENT ON VIEW metrics.command_cost_day IS
    'What messages of commands cost by the day, under the tariff in force then.';
COMMENT ON COLUMN metrics.command_cost_day.billed_bytes IS
    'Bytes as the carrier bills them: each message rounded up to whole steps, with its overhead.';
COMMENT ON COLUMN metrics.command_cost_day.cost_krw IS 'What the messages cost that have a price of their own, KRW.';
COMMENT ON COLUMN metrics.command_cost_day.unpriced_messages IS
    'Messages without a tariff in KRW, or without a known size: in no cost.';
COMMENT ON COLUMN metrics.command_cost_day.by_sim_messages IS
    'Messages that are charged by SIM and day or month, whose cost is in carrier_cost_day.';
COMMENT ON VIEW metrics.traffic_usage_day IS 'Messages of each day by size, as fleetgauge whatif reads them.';
COMMENT ON COLUMN metrics.traffic_usage_day.subject IS 'What the messages are about: the command''s type.';
COMMENT ON COLUMN metrics.traffic_usage_day.unsized IS 'Messages that do not say their size.';
COMMENT ON COLUMN metrics.traffic_usage_day.retries IS 'Attempts of commands beyond the first.';
