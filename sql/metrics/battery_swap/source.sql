-- One row for each change of a vehicle's state; its events say what was done. Zone is the log's own, written with it.
SELECT
    occurred_at,
    updated_at,
    zone_code,
    vehicle_id,
    'battery_low' = ANY (event_types) AS battery_low,
    'battery_charged' = ANY (event_types) AS battery_charged
FROM vehicle_state_log
WHERE event_types && ARRAY['battery_low', 'battery_charged']
