-- One row for each message over the air, at its own time, retransmissions included. A message that no event tells of, but
-- an ack or an answer proves, is one without a size; once its event is known it is not counted, but its row stays.
SELECT
    jsonb_build_array(device_id, command_id, attempt, step, event_id)::text AS message,
    at AS event_time,
    updated_at,
    command_type,
    carrier,
    CASE WHEN step = 2 THEN 'downlink' ELSE 'uplink' END AS direction,
    counted,
    event_id = '' AS unseen,
    attempt,
    bytes
FROM fleetgauge.command_event
WHERE step > 1
