-- One row for each change of a vehicle's state; its events say what was done. Zone is the log's own, written with it.
SELECT
    occurred_at,
    updated_at,
    zone_code,
    vehicle_id,
    'rebalance_pick_up' = ANY (event_types) AS rebalance_pick_up,
    'provider_drop_off' = ANY (event_types) AS provider_drop_off,
    'maintenance' = ANY (event_types) AS maintenance,
    'maintenance_end' = ANY (event_types) AS maintenance_end
FROM vehicle_state_log
WHERE event_types && ARRAY['rebalance_pick_up', 'provider_drop_off', 'maintenance', 'maintenance_end']
