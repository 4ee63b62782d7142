-- Everything that goes over the air: telemetry by kind, and commands by their type (sends, acks, answers, retries).

CREATE OR REPLACE VIEW metrics.air_traffic_minute AS
SELECT window_start, kind, direction, carrier, messages, bytes, provisional, 'telemetry' AS stream, payload, payload_unknown
FROM metrics.telemetry_traffic_minute
UNION ALL
SELECT window_start, command_type AS kind, direction, carrier, messages, bytes, provisional, 'commands' AS stream, payload, payload_unknown
FROM metrics.traffic_minute;

CREATE OR REPLACE VIEW metrics.air_traffic_hour AS
SELECT window_start, kind, direction, carrier, messages, bytes, provisional, 'telemetry' AS stream, payload, payload_unknown
FROM metrics.telemetry_traffic_hour
UNION ALL
SELECT window_start, command_type AS kind, direction, carrier, messages, bytes, provisional, 'commands' AS stream, payload, payload_unknown
FROM metrics.traffic_hour;

CREATE OR REPLACE VIEW metrics.air_traffic_day AS
SELECT window_start, kind, direction, carrier, messages, bytes, provisional, 'telemetry' AS stream, payload, payload_unknown, date
FROM metrics.telemetry_traffic_day
UNION ALL
SELECT window_start, command_type AS kind, direction, carrier, messages, bytes, provisional, 'commands' AS stream, payload, payload_unknown, date
FROM metrics.traffic_day;

-- What it costs, under the tariff in force at the window's start; one of a price class is that of the carrier `carrier/class`. Prices change on full local hours only, so minutes and
-- hours lie wholly within one price. Cost is that of the messages that have a price, and adds up over any rows.
-- `by_sim_messages` counts those that are charged by SIM and whole days, whose cost minutes and hours do not have;
-- `unpriced_messages` the others: those without a tariff in KRW, and those that do not say their size, or of which an older
-- version kept none.

CREATE OR REPLACE VIEW metrics.air_cost_minute AS
SELECT
    m.window_start,
    m.stream,
    m.kind,
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
    CASE WHEN t.rounding <> 'message' THEN m.messages ELSE 0 END AS by_sim_messages,
    m.provisional
FROM metrics.air_traffic_minute AS m
LEFT JOIN fleetgauge.tariff AS t
    ON concat_ws('/', t.carrier, nullif(t.price_class, '')) = m.carrier AND (t.currency = 'KRW' OR t.rounding <> 'message')
    AND t.valid_from <= m.window_start AND m.window_start < t.valid_to
CROSS JOIN LATERAL (SELECT fleetgauge.billed_steps(m.payload, m.messages - m.payload_unknown, t.overhead_bytes, t.step_bytes) AS steps OFFSET 0) AS s;

CREATE OR REPLACE VIEW metrics.air_cost_hour AS
SELECT
    m.window_start,
    m.stream,
    m.kind,
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
    CASE WHEN t.rounding <> 'message' THEN m.messages ELSE 0 END AS by_sim_messages,
    m.provisional
FROM metrics.air_traffic_hour AS m
LEFT JOIN fleetgauge.tariff AS t
    ON concat_ws('/', t.carrier, nullif(t.price_class, '')) = m.carrier AND (t.currency = 'KRW' OR t.rounding <> 'message')
    AND t.valid_from <= m.window_start AND m.window_start < t.valid_to
CROSS JOIN LATERAL (SELECT fleetgauge.billed_steps(m.payload, m.messages - m.payload_unknown, t.overhead_bytes, t.step_bytes) AS steps OFFSET 0) AS s;

-- What messages of a day cost that are rounded one by one, and of the others the volume by which their cost is shared out.
-- A day is priced from its own rows, save where a price changes within it: there from its hours, which are added up.
CREATE OR REPLACE VIEW metrics.message_cost_day AS
WITH price AS MATERIALIZED (
    SELECT
        concat_ws('/', carrier, nullif(price_class, '')) AS carrier, valid_from, valid_to, rounding, overhead_bytes, step_bytes, price
    FROM fleetgauge.tariff
    WHERE currency = 'KRW' OR rounding <> 'message'
),
bound AS (
    SELECT concat_ws('/', carrier, nullif(price_class, '')) AS carrier, valid_from AT TIME ZONE 'Asia/Seoul' AS at_local
    FROM fleetgauge.tariff
    UNION
    SELECT concat_ws('/', carrier, nullif(price_class, '')), valid_to AT TIME ZONE 'Asia/Seoul'
    FROM fleetgauge.tariff
    WHERE valid_to < 'infinity'
),
split AS (
    SELECT DISTINCT carrier, at_local::date AS date FROM bound WHERE at_local <> date_trunc('day', at_local)
)
SELECT
    m.window_start,
    m.date,
    m.stream,
    m.kind,
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
    END::bigint AS unpriced_messages,
    CASE WHEN t.rounding <> 'message' THEN m.messages ELSE 0 END::bigint AS by_sim_messages,
    CASE WHEN t.rounding <> 'message' THEN coalesce(m.payload_unknown, 0) ELSE 0 END::bigint AS by_sim_unsized,
    CASE
        WHEN t.rounding <> 'message'
            THEN coalesce(m.bytes + (m.messages - coalesce(m.payload_unknown, 0))::numeric * t.overhead_bytes, 0)
        ELSE 0
    END AS by_sim_volume,
    m.provisional,
    coalesce(t.rounding <> 'message', false) AS by_sim,
    s.month
FROM metrics.air_traffic_day AS m
LEFT JOIN price AS t ON t.carrier = m.carrier AND t.valid_from <= m.window_start AND m.window_start < t.valid_to
CROSS JOIN LATERAL (
    SELECT
        fleetgauge.billed_steps(m.payload, m.messages - m.payload_unknown, t.overhead_bytes, t.step_bytes) AS steps,
        date_trunc('month', m.date::timestamp)::date AS month
    OFFSET 0  -- once for each row, however often they are asked for
) AS s
WHERE NOT EXISTS (SELECT FROM split AS p WHERE p.carrier = m.carrier AND p.date = m.date)
UNION ALL
SELECT
    fleetgauge.date_start(p.date, 'Asia/Seoul'),
    p.date,
    h.stream,
    h.kind,
    h.carrier,
    h.direction,
    sum(h.messages)::bigint,
    sum(h.bytes)::bigint,
    coalesce(sum(s.steps * t.step_bytes) FILTER (WHERE t.rounding = 'message'), 0)::bigint,
    coalesce(sum(s.steps * t.price) FILTER (WHERE t.rounding = 'message'), 0),
    sum(CASE
        WHEN t.rounding <> 'message' THEN 0
        WHEN t.carrier IS NULL OR h.payload IS NULL THEN h.messages
        ELSE h.payload_unknown
    END)::bigint,
    coalesce(sum(h.messages) FILTER (WHERE t.rounding <> 'message'), 0)::bigint,
    coalesce(sum(h.payload_unknown) FILTER (WHERE t.rounding <> 'message'), 0)::bigint,
    coalesce(
        sum(h.bytes + (h.messages - coalesce(h.payload_unknown, 0))::numeric * t.overhead_bytes) FILTER (WHERE t.rounding <> 'message'),
        0
    ),
    bool_or(h.provisional),
    coalesce(bool_or(t.rounding <> 'message'), false),
    date_trunc('month', p.date::timestamp)::date
FROM split AS p
CROSS JOIN LATERAL (
    SELECT * FROM metrics.air_traffic_hour
    WHERE
        carrier = p.carrier
        AND window_start >= fleetgauge.date_start(p.date, 'Asia/Seoul')
        AND window_start < fleetgauge.date_start(p.date + 1, 'Asia/Seoul')
    OFFSET 0  -- keeps it a look-up by window for each such day, and no join over all hours
) AS h
LEFT JOIN price AS t ON t.carrier = h.carrier AND t.valid_from <= h.window_start AND h.window_start < t.valid_to
CROSS JOIN LATERAL (SELECT fleetgauge.billed_steps(h.payload, h.messages - h.payload_unknown, t.overhead_bytes, t.step_bytes) AS steps OFFSET 0) AS s
GROUP BY p.date, h.stream, h.kind, h.carrier, h.direction;

-- The part of a day's usage that is charged by SIM, by kind. It is shared out by volume, in whole steps: each kind has its part
-- rounded down, and the steps that are left go to the largest remainders, so the parts add up to the bill. What no kind can
-- bear is a row `(other)`: the messages of SIMs beyond the limit, which have no price.
CREATE OR REPLACE VIEW metrics.shared_cost_day AS
WITH cell AS (
    SELECT
        window_start, date, stream, kind, carrier, direction, messages, bytes, billed_bytes, cost_krw, unpriced_messages,
        by_sim_messages, by_sim_unsized, by_sim_volume, provisional,
        NULL::bigint AS steps, NULL::bigint AS step_bytes, NULL::numeric AS price, NULL::bigint AS unpriced, month
    FROM metrics.message_cost_day
    -- Nothing is read where no tariff charges by SIM.
    WHERE by_sim AND (SELECT coalesce(bool_or(rounding <> 'message'), false) FROM fleetgauge.tariff)
    UNION ALL
    SELECT
        window_start, date, '(other)', '(other)', carrier, '(not set)', 0, 0, 0, 0, 0, 0, 0, 0, provisional,
        steps, step_bytes, price, unpriced_messages, month
    FROM metrics.sim_charge_day
    WHERE charge = 'usage' AND currency = 'KRW'
),
charged AS (
    SELECT
        c.*,
        max(c.steps) OVER day AS day_steps,
        max(c.step_bytes) OVER day AS day_step_bytes,
        max(c.price) OVER day AS day_price,
        sum(c.by_sim_volume) OVER day AS day_volume,
        sum(c.by_sim_unsized) OVER day AS day_unsized,
        bool_or(c.provisional) FILTER (WHERE c.steps IS NOT NULL) OVER day AS day_provisional
    FROM cell AS c
    WINDOW day AS (PARTITION BY c.window_start, c.date, c.month, c.carrier)
),
shared AS (
    SELECT
        c.*,
        CASE
            WHEN c.day_volume > 0 THEN div(c.day_steps * c.by_sim_volume, c.day_volume)
            ELSE coalesce(c.steps, 0)
        END AS least,
        CASE WHEN c.day_volume > 0 THEN (c.day_steps * c.by_sim_volume) % c.day_volume ELSE 0 END AS rest
    FROM charged AS c
),
parted AS (
    SELECT
        s.*,
        s.least + CASE
            WHEN s.rest > 0 AND row_number() OVER (
                PARTITION BY s.window_start, s.date, s.month, s.carrier ORDER BY s.rest DESC, s.stream, s.kind, s.direction
            ) <= s.day_steps - sum(s.least) OVER (PARTITION BY s.window_start, s.date, s.month, s.carrier)
            THEN 1 ELSE 0
        END AS part
    FROM shared AS s
),
priced AS (
    SELECT
        p.window_start,
        p.date,
        p.stream,
        p.kind,
        p.carrier,
        p.direction,
        p.messages,
        p.bytes,
        (p.billed_bytes + coalesce(p.part * p.day_step_bytes, 0))::bigint AS billed_bytes,
        p.cost_krw + coalesce(p.part * p.day_price, 0) AS cost_krw,
        (p.unpriced_messages + CASE
            WHEN p.steps IS NOT NULL THEN greatest(p.unpriced - p.day_unsized, 0)
            WHEN p.day_steps IS NOT NULL THEN p.by_sim_unsized
            ELSE 0
        END)::bigint AS unpriced_messages,
        CASE WHEN p.day_steps IS NULL THEN p.by_sim_messages ELSE 0 END::bigint AS by_sim_messages,
        p.provisional OR (p.by_sim_messages > 0 AND coalesce(p.day_provisional, true)) AS provisional,
        p.steps IS NOT NULL AS beside,
        p.month
    FROM parted AS p
)
SELECT
    window_start, date, stream, kind, carrier, direction, messages, bytes, billed_bytes, cost_krw, unpriced_messages,
    by_sim_messages, provisional, month
FROM priced
WHERE NOT beside OR cost_krw > 0 OR unpriced_messages > 0;

-- The whole usage of a day by kind: what is billed message by message, and each kind's part of what is charged by SIM.
-- Say `month >= …` beside a condition on time: what is charged by SIM is computed by whole months, and only of those that are asked.
CREATE OR REPLACE VIEW metrics.air_cost_day AS
SELECT
    window_start, date, stream, kind, carrier, direction, messages, bytes, billed_bytes, cost_krw, unpriced_messages,
    by_sim_messages, provisional, month
FROM metrics.message_cost_day
WHERE NOT by_sim
UNION ALL
SELECT
    window_start, date, stream, kind, carrier, direction, messages, bytes, billed_bytes, cost_krw, unpriced_messages,
    by_sim_messages, provisional, month
FROM metrics.shared_cost_day;

COMMENT ON VIEW metrics.air_traffic_day IS
    'Everything that goes over the air: telemetry by kind, commands by their type; messages, payload, sizes.';
COMMENT ON VIEW metrics.message_cost_day IS
    'What the messages of a day cost that are rounded one by one; of the others the volume by which cost is shared out.';
COMMENT ON VIEW metrics.shared_cost_day IS
    'The part of metrics.air_cost_day whose carrier charges by SIM on that day: shared out by volume, and what no kind can bear.';
COMMENT ON VIEW metrics.air_cost_minute IS 'What everything costs that goes over the air; what is charged by SIM is counted beside.';
COMMENT ON VIEW metrics.air_cost_hour IS 'What everything costs that goes over the air; what is charged by SIM is counted beside.';
COMMENT ON VIEW metrics.air_cost_day IS
    'What everything costs that goes over the air, by kind; what is charged by SIM is shared out by volume and adds up to the bill.';

COMMENT ON VIEW metrics.air_traffic_minute IS
    'Everything that goes over the air, by the minute: telemetry by kind, commands by their type.';
COMMENT ON COLUMN metrics.air_traffic_minute.kind IS 'Kind of telemetry, or type of the command.';
COMMENT ON VIEW metrics.air_traffic_hour IS
    'Everything that goes over the air, by the hour: telemetry by kind, commands by their type.';
COMMENT ON COLUMN metrics.air_traffic_hour.kind IS 'Kind of telemetry, or type of the command.';
COMMENT ON VIEW metrics.air_traffic_day IS
    'Everything that goes over the air, by the day: telemetry by kind, commands by their type.';
COMMENT ON COLUMN metrics.air_traffic_day.kind IS 'Kind of telemetry, or type of the command.';
COMMENT ON COLUMN metrics.air_traffic_minute.stream IS 'telemetry or commands.';
COMMENT ON COLUMN metrics.air_traffic_minute.payload IS 'Messages by their payload.';
COMMENT ON COLUMN metrics.air_traffic_minute.payload_unknown IS 'Messages that do not say their size.';
COMMENT ON COLUMN metrics.air_cost_minute.window_start IS 'The beginning of the window.';
COMMENT ON COLUMN metrics.air_cost_minute.stream IS 'telemetry or commands.';
COMMENT ON COLUMN metrics.air_cost_minute.kind IS 'Kind of telemetry, or type of the command.';
COMMENT ON COLUMN metrics.air_cost_minute.carrier IS 'Of the SIM; with a price class it is part of the name.';
COMMENT ON COLUMN metrics.air_cost_minute.direction IS 'uplink: device to server; downlink: server to device.';
COMMENT ON COLUMN metrics.air_cost_minute.messages IS 'Messages over the air.';
COMMENT ON COLUMN metrics.air_cost_minute.bytes IS 'Payload, without protocol overhead.';
COMMENT ON COLUMN metrics.air_cost_minute.billed_bytes IS 'Bytes as the carrier bills them: whole steps, with overhead.';
COMMENT ON COLUMN metrics.air_cost_minute.cost_krw IS 'What the messages cost that have a price, KRW.';
COMMENT ON COLUMN metrics.air_cost_minute.unpriced_messages IS 'Messages without a tariff in KRW, or without a known size: in no cost.';
COMMENT ON COLUMN metrics.air_cost_minute.by_sim_messages IS 'Messages that are charged by SIM and whole days, whose cost is not in this row.';
COMMENT ON COLUMN metrics.air_cost_minute.provisional IS 'Whether it may still change without being told as a restatement.';
COMMENT ON COLUMN metrics.air_traffic_hour.stream IS 'telemetry or commands.';
COMMENT ON COLUMN metrics.air_traffic_hour.payload IS 'Messages by their payload.';
COMMENT ON COLUMN metrics.air_traffic_hour.payload_unknown IS 'Messages that do not say their size.';
COMMENT ON COLUMN metrics.air_cost_hour.window_start IS 'The beginning of the window.';
COMMENT ON COLUMN metrics.air_cost_hour.stream IS 'telemetry or commands.';
COMMENT ON COLUMN metrics.air_cost_hour.kind IS 'Kind of telemetry, or type of the command.';
COMMENT ON COLUMN metrics.air_cost_hour.carrier IS 'Of the SIM; with a price class it is part of the name.';
COMMENT ON COLUMN metrics.air_cost_hour.direction IS 'uplink: device to server; downlink: server to device.';
COMMENT ON COLUMN metrics.air_cost_hour.messages IS 'Messages over the air.';
COMMENT ON COLUMN metrics.air_cost_hour.bytes IS 'Payload, without protocol overhead.';
COMMENT ON COLUMN metrics.air_cost_hour.billed_bytes IS 'Bytes as the carrier bills them: whole steps, with overhead.';
COMMENT ON COLUMN metrics.air_cost_hour.cost_krw IS 'What the messages cost that have a price, KRW.';
COMMENT ON COLUMN metrics.air_cost_hour.unpriced_messages IS 'Messages without a tariff in KRW, or without a known size: in no cost.';
COMMENT ON COLUMN metrics.air_cost_hour.by_sim_messages IS 'Messages that are charged by SIM and whole days, whose cost is not in this row.';
COMMENT ON COLUMN metrics.air_cost_hour.provisional IS 'Whether it may still change without being told as a restatement.';
COMMENT ON COLUMN metrics.air_traffic_day.stream IS 'telemetry or commands.';
COMMENT ON COLUMN metrics.air_traffic_day.payload IS 'Messages by their payload.';
COMMENT ON COLUMN metrics.air_traffic_day.payload_unknown IS 'Messages that do not say their size.';
COMMENT ON COLUMN metrics.air_cost_day.window_start IS 'The beginning of the window.';
COMMENT ON COLUMN metrics.air_cost_day.date IS 'The local date.';
COMMENT ON COLUMN metrics.air_cost_day.month IS 'The first date of the month that the day lies in.';
COMMENT ON COLUMN metrics.air_cost_day.stream IS 'telemetry or commands.';
COMMENT ON COLUMN metrics.air_cost_day.kind IS 'Kind of telemetry, or type of the command.';
COMMENT ON COLUMN metrics.air_cost_day.carrier IS 'Of the SIM; with a price class it is part of the name.';
COMMENT ON COLUMN metrics.air_cost_day.direction IS 'uplink: device to server; downlink: server to device.';
COMMENT ON COLUMN metrics.air_cost_day.messages IS 'Messages over the air.';
COMMENT ON COLUMN metrics.air_cost_day.bytes IS 'Payload, without protocol overhead.';
COMMENT ON COLUMN metrics.air_cost_day.billed_bytes IS 'Bytes as the carrier bills them: whole steps, with overhead.';
COMMENT ON COLUMN metrics.air_cost_day.cost_krw IS 'What the messages cost that have a price, KRW.';
COMMENT ON COLUMN metrics.air_cost_day.unpriced_messages IS 'Messages without a tariff in KRW, or without a known size: in no cost.';
COMMENT ON COLUMN metrics.air_cost_day.by_sim_messages IS 'Messages that are charged by SIM and whole days, whose cost is not in this row.';
COMMENT ON COLUMN metrics.air_cost_day.provisional IS 'Whether it may still change without being told as a restatement.';
COMMENT ON COLUMN metrics.message_cost_day.window_start IS 'The beginning of the window.';
COMMENT ON COLUMN metrics.message_cost_day.date IS 'The local date.';
COMMENT ON COLUMN metrics.message_cost_day.month IS 'The first date of the month that the day lies in.';
COMMENT ON COLUMN metrics.message_cost_day.stream IS 'telemetry or commands.';
COMMENT ON COLUMN metrics.message_cost_day.kind IS 'Kind of telemetry, or type of the command.';
COMMENT ON COLUMN metrics.message_cost_day.carrier IS 'Of the SIM; with a price class it is part of the name.';
COMMENT ON COLUMN metrics.message_cost_day.direction IS 'uplink: device to server; downlink: server to device.';
COMMENT ON COLUMN metrics.message_cost_day.messages IS 'Messages over the air.';
COMMENT ON COLUMN metrics.message_cost_day.bytes IS 'Payload, without protocol overhead.';
COMMENT ON COLUMN metrics.message_cost_day.billed_bytes IS 'Bytes as the carrier bills them: whole steps, with overhead.';
COMMENT ON COLUMN metrics.message_cost_day.cost_krw IS 'What the messages cost that have a price, KRW.';
COMMENT ON COLUMN metrics.message_cost_day.unpriced_messages IS 'Messages without a tariff in KRW, or without a known size: in no cost.';
COMMENT ON COLUMN metrics.message_cost_day.by_sim_messages IS 'Messages that are charged by SIM and whole days, whose cost is not in this row.';
COMMENT ON COLUMN metrics.message_cost_day.by_sim_unsized IS 'Of by_sim_messages those that do not say their size.';
COMMENT ON COLUMN metrics.message_cost_day.by_sim_volume IS 'Bytes with overhead of by_sim_messages, by which the cost of the day is shared out.';
COMMENT ON COLUMN metrics.message_cost_day.by_sim IS 'Whether a tariff that charges by SIM holds on the day, or in a part of it.';
COMMENT ON COLUMN metrics.message_cost_day.provisional IS 'Whether it may still change without being told as a restatement.';
COMMENT ON COLUMN metrics.shared_cost_day.window_start IS 'The beginning of the window.';
COMMENT ON COLUMN metrics.shared_cost_day.date IS 'The local date.';
COMMENT ON COLUMN metrics.shared_cost_day.month IS 'The first date of the month that the day lies in.';
COMMENT ON COLUMN metrics.shared_cost_day.stream IS 'telemetry or commands.';
COMMENT ON COLUMN metrics.shared_cost_day.kind IS 'Kind of telemetry, or type of the command.';
COMMENT ON COLUMN metrics.shared_cost_day.carrier IS 'Of the SIM; with a price class it is part of the name.';
COMMENT ON COLUMN metrics.shared_cost_day.direction IS 'uplink: device to server; downlink: server to device.';
COMMENT ON COLUMN metrics.shared_cost_day.messages IS 'Messages over the air.';
COMMENT ON COLUMN metrics.shared_cost_day.bytes IS 'Payload, without protocol overhead.';
COMMENT ON COLUMN metrics.shared_cost_day.billed_bytes IS 'Bytes as the carrier bills them: whole steps, with overhead.';
COMMENT ON COLUMN metrics.shared_cost_day.cost_krw IS 'What the messages cost that have a price, KRW.';
COMMENT ON COLUMN metrics.shared_cost_day.unpriced_messages IS 'Messages without a tariff in KRW, or without a known size: in no cost.';
COMMENT ON COLUMN metrics.shared_cost_day.by_sim_messages IS 'Messages that are charged by SIM and whole days, whose cost is not in this row.';
COMMENT ON COLUMN metrics.shared_cost_day.provisional IS 'Whether it may still change without being told as a restatement.';
