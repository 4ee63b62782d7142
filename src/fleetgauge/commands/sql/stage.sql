-- Facts about attempts, of one batch: an event fills one of the three clocks (or none: `requested`), a stored attempt any of them.
-- Its row type lets an aggregate keep a fact whole.
CREATE TEMPORARY TABLE IF NOT EXISTS command_fact (
    command_id text COLLATE "C" NOT NULL,
    attempt smallint NOT NULL,
    described_by smallint NOT NULL,
    command_type text NOT NULL,
    device_id text NOT NULL,
    vehicle_model text NOT NULL,
    firmware text NOT NULL,
    carrier text NOT NULL,
    sim text NOT NULL,
    requested_at timestamptz NOT NULL,
    deadline_at timestamptz NOT NULL,
    sent_at timestamptz,
    sent_bytes integer,
    delivered_at timestamptz,
    delivered_bytes integer,
    responded_at timestamptz,
    responded_bytes integer,
    result text,
    error_code text
) ON COMMIT DELETE ROWS
