-- The events of one batch. `known`: read back from the table, not told by this batch. A row type lets an aggregate keep
-- an event whole, and its texts sort by their bytes, as in Python.
CREATE TEMPORARY TABLE IF NOT EXISTS staged_event (
    device_id text COLLATE "C" NOT NULL,
    command_id text COLLATE "C" NOT NULL,
    attempt smallint NOT NULL,
    step smallint NOT NULL,
    at timestamptz NOT NULL,
    requested_at timestamptz NOT NULL,
    deadline_at timestamptz NOT NULL,
    command_type text COLLATE "C" NOT NULL,
    vehicle_model text COLLATE "C" NOT NULL,
    firmware text COLLATE "C" NOT NULL,
    carrier text COLLATE "C" NOT NULL,
    sim text COLLATE "C" NOT NULL,
    result text COLLATE "C",
    error_code text COLLATE "C",
    bytes integer,
    event_id text COLLATE "C" NOT NULL,
    disagrees boolean NOT NULL DEFAULT false,
    known boolean NOT NULL DEFAULT false
) ON COMMIT DELETE ROWS
