-- One row for each attempt. The time is that of the command's request, the same for all of its attempts. Clocks of
-- different servers may disagree by a little, so a time that would be negative counts as none.
SELECT
    jsonb_build_array(device_id, command_id, attempt)::text AS attempt_key,
    requested_at,
    updated_at,
    command_type,
    carrier,
    attempt,
    status,
    late_success,
    CASE WHEN attempt = 1 AND sent_at >= requested_at THEN extract(epoch FROM sent_at - requested_at) * 1000 END
        AS queue_ms,
    CASE WHEN delivered_at >= sent_at THEN extract(epoch FROM delivered_at - sent_at) * 1000 END AS network_ms,
    CASE WHEN responded_at >= delivered_at THEN extract(epoch FROM responded_at - delivered_at) * 1000 END AS device_ms
FROM fleetgauge.command_attempt
