-- One row for each request. Zone and model are its own, written with it.
SELECT
    requested_at,
    updated_at,
    zone_code,
    model_code,
    outcome
FROM unlock_requests
