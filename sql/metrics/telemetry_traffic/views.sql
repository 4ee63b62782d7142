-- Everything that goes over the air: telemetry by kind, and commands by their type (sends, acks, answers, retries).

CREATE OR REPLACE VIEW metrics.air_traffic_minute AS
SELECT window_start, kind, direction, carrier, messages, bytes, provisional FROM metrics.telemetry_traffic_minute
UNION ALL
SELECT window_start, command_type AS kind, direction, carrier, messages, bytes, provisional FROM metrics.traffic_minute;

CREATE OR REPLACE VIEW metrics.air_traffic_hour AS
SELECT window_start, kind, direction, carrier, messages, bytes, provisional FROM metrics.telemetry_traffic_hour
UNION ALL
SELECT window_start, command_type AS kind, direction, carrier, messages, bytes, provisional FROM metrics.traffic_hour;

CREATE OR REPLACE VIEW metrics.air_traffic_day AS
SELECT window_start, kind, direction, carrier, messages, bytes, provisional FROM metrics.telemetry_traffic_day
UNION ALL
SELECT window_start, command_type AS kind, direction, carrier, messages, bytes, provisional FROM metrics.traffic_day;

COMMENT ON VIEW metrics.air_traffic_minute IS
    'Everything that goes over the air, by the minute: telemetry by kind, commands by their type.';
COMMENT ON COLUMN metrics.air_traffic_minute.kind IS 'Kind of telemetry, or type of the command.';
COMMENT ON VIEW metrics.air_traffic_hour IS
    'Everything that goes over the air, by the hour: telemetry by kind, commands by their type.';
COMMENT ON COLUMN metrics.air_traffic_hour.kind IS 'Kind of telemetry, or type of the command.';
COMMENT ON VIEW metrics.air_traffic_day IS
    'Everything that goes over the air, by the day: telemetry by kind, commands by their type.';
COMMENT ON COLUMN metrics.air_traffic_day.kind IS 'Kind of telemetry, or type of the command.';
