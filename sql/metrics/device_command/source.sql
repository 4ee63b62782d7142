-- One row for each attempt; measures count the last attempt of a command, which decides its outcome. Those before it stay
-- here, so that an attempt which is overtaken by another is a changed row and not a missing one. The time is that of the
-- request, the same for every attempt of a command.
SELECT
    jsonb_build_array(device_id, command_id, attempt)::text AS attempt_key,
    requested_at,
    updated_at,
    command_type,
    vehicle_model,
    firmware,
    carrier,
    attempt,
    is_last,
    status,
    late_success,
    any_late_success,
    rolled_back,
    conflicting,
    extract(epoch FROM responded_at - requested_at) * 1000 AS latency_ms,
    extract(epoch FROM delivered_at - sent_at) * 1000 AS ack_ms
FROM fleetgauge.command_attempt
