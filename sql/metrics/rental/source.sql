-- One row a rental. Zone and model are the rental's own columns, written once at its start: a vehicle that moves or is
-- rebuilt later does not rewrite history.
SELECT
  started_at,
  updated_at,
  zone_code,
  model_code,
  status,
  rider_id,
  fare_krw,
  distance_m,
  extract(epoch FROM ended_at - started_at) AS duration_s
FROM rentals
