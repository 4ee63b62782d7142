-- When vehicles were taken out of service, for any reason but an empty battery.
SELECT
    vehicle_id::text AS vehicle,
    occurred_at
FROM vehicle_state_log
WHERE vehicle_state = 'non_operational'
    AND NOT event_types && ARRAY['battery_low']
