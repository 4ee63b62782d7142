-- One row for each command: its last attempt decides the outcome. The time is that of the request, so every attempt of a
-- command falls into the same window.
SELECT
    requested_at,
    updated_at,
    command_type,
    vehicle_model,
    firmware,
    carrier,
    attempt,
    status,
    late_success,
    extract(epoch FROM responded_at - requested_at) * 1000 AS latency_ms,
    extract(epoch FROM delivered_at - sent_at) * 1000 AS ack_ms
FROM fleetgauge.command_attempt
WHERE is_last
