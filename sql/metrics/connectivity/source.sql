-- One row for each change of a vehicle's state; its events say what was done. Zone is the log's own, written with it.
SELECT
    occurred_at,
    updated_at,
    zone_code,
    vehicle_id,
    'comms_lost' = ANY (event_types) AS comms_lost,
    'comms_restored' = ANY (event_types) AS comms_restored
FROM vehicle_state_log
WHERE event_types && ARRAY['comms_lost', 'comms_restored']
