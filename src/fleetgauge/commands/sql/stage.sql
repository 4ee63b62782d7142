-- The events of one batch. `known`: read back from the table, not told by this batch. A row type lets an aggregate keep
-- an event whole, and its texts sort by their bytes, as in Python.
CREATE TEMPORARY TABLE IF NOT EXISTS staged_event (
    {definitions},
    disagrees boolean NOT NULL DEFAULT false,
    known boolean NOT NULL DEFAULT false
) ON COMMIT DELETE ROWS
