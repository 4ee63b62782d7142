-- One row a rental. Which one of its rider's it is (1 for the first of their life) is the rental's own, written once.
SELECT
    started_at,
    updated_at,
    zone_code,
    rider_id,
    rider_rental
FROM rentals
