-- One row for each message over the air, as in the metric traffic.
SELECT
    jsonb_build_array(device_id, command_id, attempt, step, event_id)::text AS message,
    at AS event_time,
    updated_at,
    sim,
    carrier,
    counted,
    bytes
FROM fleetgauge.command_event
WHERE step > 1
