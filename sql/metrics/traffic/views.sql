-- What commands cost: their part of metrics.air_cost_*, which holds everything that goes over the air. Of a day the cost that
-- is charged by SIM is in it, shared out by volume; minutes and hours count such messages as `by_sim_messages`.

CREATE OR REPLACE VIEW metrics.command_cost_minute AS
SELECT
    window_start,
    kind AS command_type,
    carrier,
    direction,
    messages,
    bytes,
    billed_bytes,
    cost_krw,
    unpriced_messages,
    provisional,
    by_sim_messages
FROM metrics.air_cost_minute
WHERE stream = 'commands';

CREATE OR REPLACE VIEW metrics.command_cost_hour AS
SELECT
    window_start,
    kind AS command_type,
    carrier,
    direction,
    messages,
    bytes,
    billed_bytes,
    cost_krw,
    unpriced_messages,
    provisional,
    by_sim_messages
FROM metrics.air_cost_hour
WHERE stream = 'commands';

CREATE OR REPLACE VIEW metrics.command_cost_day AS
SELECT
    window_start,
    date,
    kind AS command_type,
    carrier,
    direction,
    messages,
    bytes,
    billed_bytes,
    cost_krw,
    unpriced_messages,
    provisional,
    by_sim_messages,
    month
FROM metrics.air_cost_day
WHERE stream = 'commands';

-- What `fleetgauge whatif` reads: each day's messages by size, of everything that goes over the air. `further`: those of them
-- that belong to tries beyond a command's first.
CREATE OR REPLACE VIEW metrics.traffic_usage_day AS
SELECT
    date, kind AS subject, carrier, direction, payload,
    (messages - coalesce(fleetgauge.tally_count(payload), 0))::bigint AS unsized,
    provisional, stream, NULL::fleetgauge.tally AS further
FROM metrics.air_traffic_day
WHERE stream <> 'commands'
UNION ALL
SELECT
    date, command_type, carrier, direction, payload,
    (messages - coalesce(fleetgauge.tally_count(payload), 0))::bigint, provisional, 'commands', further
FROM metrics.traffic_day;

COMMENT ON VIEW metrics.command_cost_minute IS
    'What messages of commands cost by the minute, under the tariff in force then.';
COMMENT ON COLUMN metrics.command_cost_minute.command_type IS 'Type of the command.';
COMMENT ON COLUMN metrics.command_cost_minute.billed_bytes IS
    'Bytes as the carrier bills them: each message rounded up to whole steps, with its overhead.';
COMMENT ON COLUMN metrics.command_cost_minute.cost_krw IS 'What the messages cost that have a price of their own, KRW.';
COMMENT ON COLUMN metrics.command_cost_minute.unpriced_messages IS
    'Messages without a tariff in KRW, or without a known size: in no cost.';
COMMENT ON COLUMN metrics.command_cost_minute.by_sim_messages IS
    'Messages that are charged by SIM and whole days, whose cost is not in this row.';
COMMENT ON VIEW metrics.command_cost_hour IS
    'What messages of commands cost by the hour, under the tariff in force then.';
COMMENT ON COLUMN metrics.command_cost_hour.command_type IS 'Type of the command.';
COMMENT ON COLUMN metrics.command_cost_hour.billed_bytes IS
    'Bytes as the carrier bills them: each message rounded up to whole steps, with its overhead.';
COMMENT ON COLUMN metrics.command_cost_hour.cost_krw IS 'What the messages cost that have a price of their own, KRW.';
COMMENT ON COLUMN metrics.command_cost_hour.unpriced_messages IS
    'Messages without a tariff in KRW, or without a known size: in no cost.';
COMMENT ON COLUMN metrics.command_cost_hour.by_sim_messages IS
    'Messages that are charged by SIM and whole days, whose cost is not in this row.';
COMMENT ON VIEW metrics.command_cost_day IS
    'What messages of commands cost by the day, under the tariff in force then.';
COMMENT ON COLUMN metrics.command_cost_day.month IS 'The first date of the month that the day lies in.';
COMMENT ON COLUMN metrics.command_cost_day.command_type IS 'Type of the command.';
COMMENT ON COLUMN metrics.command_cost_day.billed_bytes IS
    'Bytes as the carrier bills them: each message rounded up to whole steps, with its overhead.';
COMMENT ON COLUMN metrics.command_cost_day.cost_krw IS 'What the messages cost that have a price of their own, KRW.';
COMMENT ON COLUMN metrics.command_cost_day.unpriced_messages IS
    'Messages without a tariff in KRW, or without a known size: in no cost.';
COMMENT ON COLUMN metrics.command_cost_day.by_sim_messages IS
    'Messages that are charged by SIM and whole days, whose cost is not in this row.';
COMMENT ON VIEW metrics.traffic_usage_day IS 'Messages of each day by size, as fleetgauge whatif reads them.';
COMMENT ON COLUMN metrics.traffic_usage_day.subject IS 'Kind of telemetry, or type of the command.';
COMMENT ON COLUMN metrics.traffic_usage_day.unsized IS 'Messages that do not say their size.';
COMMENT ON COLUMN metrics.traffic_usage_day.stream IS 'telemetry or commands.';
COMMENT ON COLUMN metrics.traffic_usage_day.further IS 'Messages by payload, of tries beyond a command''s first.';
