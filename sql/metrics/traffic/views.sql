-- What the messages cost, under the tariff in force at the window's start. Prices change on full local hours only, so
-- minutes and hours lie wholly within one price. A cost that is not wholly known is NULL, never a part of it:
-- `unpriced_messages` counts what has no tariff, or a payload size beyond the dimension's limit.

CREATE OR REPLACE VIEW metrics.command_cost_minute AS
SELECT
    m.window_start,
    m.command_type,
    m.carrier,
    m.direction,
    sum(m.messages)::bigint AS messages,
    sum(m.bytes)::bigint AS bytes,
    CASE WHEN bool_and(s.steps IS NOT NULL) THEN sum(m.messages * s.steps * t.step_bytes) END::bigint AS billed_bytes,
    CASE WHEN bool_and(s.steps IS NOT NULL) THEN sum(m.messages * s.steps * t.price_krw) END AS cost_krw,
    coalesce(sum(m.messages) FILTER (WHERE s.steps IS NULL), 0)::bigint AS unpriced_messages,
    bool_or(m.provisional) AS provisional
FROM metrics.traffic_minute AS m
LEFT JOIN fleetgauge.tariff AS t
    ON t.carrier = m.carrier AND t.valid_from <= m.window_start AND m.window_start < t.valid_to
CROSS JOIN LATERAL (SELECT fleetgauge.billed_steps(m.payload_bytes, t.overhead_bytes, t.step_bytes) AS steps) AS s
GROUP BY m.window_start, m.command_type, m.carrier, m.direction;

CREATE OR REPLACE VIEW metrics.command_cost_hour AS
SELECT
    m.window_start,
    m.command_type,
    m.carrier,
    m.direction,
    sum(m.messages)::bigint AS messages,
    sum(m.bytes)::bigint AS bytes,
    CASE WHEN bool_and(s.steps IS NOT NULL) THEN sum(m.messages * s.steps * t.step_bytes) END::bigint AS billed_bytes,
    CASE WHEN bool_and(s.steps IS NOT NULL) THEN sum(m.messages * s.steps * t.price_krw) END AS cost_krw,
    coalesce(sum(m.messages) FILTER (WHERE s.steps IS NULL), 0)::bigint AS unpriced_messages,
    bool_or(m.provisional) AS provisional
FROM metrics.traffic_hour AS m
LEFT JOIN fleetgauge.tariff AS t
    ON t.carrier = m.carrier AND t.valid_from <= m.window_start AND m.window_start < t.valid_to
CROSS JOIN LATERAL (SELECT fleetgauge.billed_steps(m.payload_bytes, t.overhead_bytes, t.step_bytes) AS steps) AS s
GROUP BY m.window_start, m.command_type, m.carrier, m.direction;

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
        d.window_start, d.date, d.window_start AS priced_at, d.command_type, d.carrier, d.direction, d.payload_bytes,
        d.messages, d.bytes, d.provisional
    FROM metrics.traffic_day AS d
    WHERE NOT EXISTS (SELECT FROM split AS p WHERE p.carrier = d.carrier AND p.date = d.date)
    UNION ALL
    SELECT
        fleetgauge.date_start(p.date, 'Asia/Seoul'), p.date, h.window_start, h.command_type, h.carrier, h.direction,
        h.payload_bytes, h.messages, h.bytes, h.provisional
    FROM split AS p
    INNER JOIN metrics.traffic_hour AS h
        ON h.carrier = p.carrier
        AND h.window_start >= fleetgauge.date_start(p.date, 'Asia/Seoul')
        AND h.window_start < fleetgauge.date_start(p.date + 1, 'Asia/Seoul')
)
SELECT
    m.window_start,
    m.date,
    m.command_type,
    m.carrier,
    m.direction,
    sum(m.messages)::bigint AS messages,
    sum(m.bytes)::bigint AS bytes,
    CASE WHEN bool_and(s.steps IS NOT NULL) THEN sum(m.messages * s.steps * t.step_bytes) END::bigint AS billed_bytes,
    CASE WHEN bool_and(s.steps IS NOT NULL) THEN sum(m.messages * s.steps * t.price_krw) END AS cost_krw,
    coalesce(sum(m.messages) FILTER (WHERE s.steps IS NULL), 0)::bigint AS unpriced_messages,
    bool_or(m.provisional) AS provisional
FROM message AS m
LEFT JOIN fleetgauge.tariff AS t
    ON t.carrier = m.carrier AND t.valid_from <= m.priced_at AND m.priced_at < t.valid_to
CROSS JOIN LATERAL (SELECT fleetgauge.billed_steps(m.payload_bytes, t.overhead_bytes, t.step_bytes) AS steps) AS s
GROUP BY m.window_start, m.date, m.command_type, m.carrier, m.direction;
