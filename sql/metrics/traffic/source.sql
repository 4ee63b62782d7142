-- One row for each message over the air, at its own time. A clock is set once (the earliest of its step wins), so a row
-- does not change afterwards; `updated_at` is the attempt's, and so names a few windows too many, never too few.
SELECT
    sent_at AS event_time,
    updated_at,
    command_type,
    carrier,
    'downlink' AS direction,
    sent_bytes AS bytes,
    sent_bytes::text AS payload_bytes
FROM fleetgauge.command_attempt
WHERE sent_at IS NOT NULL
UNION ALL
SELECT
    delivered_at, updated_at, command_type, carrier, 'uplink', delivered_bytes, delivered_bytes::text
FROM fleetgauge.command_attempt
WHERE delivered_at IS NOT NULL
UNION ALL
SELECT
    responded_at, updated_at, command_type, carrier, 'uplink', responded_bytes, responded_bytes::text
FROM fleetgauge.command_attempt
WHERE responded_at IS NOT NULL
