-- Attempts whose deadline only seemed to have passed, by a clock that was ahead, are what they were before.
UPDATE fleetgauge.command_attempt AS a
SET
    status = fleetgauge.command_status(a.sent_at, a.delivered_at, a.responded_at, a.result, a.deadline_at, %(as_of)s::timestamptz),
    updated_at = clock_timestamp()
WHERE a.status IN ('timed_out', 'expired') AND a.responded_at IS NULL AND a.deadline_at >= %(as_of)s::timestamptz
