-- One row for each change of a vehicle's state; it holds until the vehicle's next row. Zone is the log's own, written with
-- the change. The model is left out: only `vehicles` knows it, as it is now, and would rewrite history.
SELECT
    id,
    vehicle_id,
    occurred_at,
    updated_at,
    vehicle_state,
    zone_code
FROM vehicle_state_log
