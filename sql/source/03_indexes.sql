-- Run once on the production primary; each statement on its own, outside a transaction (psql -f does that). They let the
-- pipeline's reads on the replica use an index: by event time for the windows of a recomputation, by change time for
-- what has changed since the last run. CONCURRENTLY: writers are not blocked.

CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_rentals_started_at ON rentals (started_at);
CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_rentals_updated_at ON rentals (updated_at);
CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_payments_paid_at ON payments (paid_at);
CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_payments_updated_at ON payments (updated_at);
CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_unlock_requests_requested_at ON unlock_requests (requested_at);
CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_unlock_requests_updated_at ON unlock_requests (updated_at);
CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_vehicle_state_log_occurred_at ON vehicle_state_log (occurred_at);
CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_vehicle_state_log_updated_at ON vehicle_state_log (updated_at);
-- A vehicle's next change, which ends the one before it.
CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_vehicle_state_log_vehicle_id_occurred_at
    ON vehicle_state_log (vehicle_id, occurred_at);
