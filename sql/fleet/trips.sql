-- One row for each trip. `trip` is what the events call trip_id; `vehicle` is production's key of the vehicle.
SELECT
    id::text AS trip,
    vehicle_id::text AS vehicle,
    started_at,
    ended_at,
    refunded_at IS NOT NULL AS refunded,
    updated_at
FROM rentals
