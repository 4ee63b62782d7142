-- A time-out is an absence: no event tells it, so each run looks for the deadlines that have passed.
UPDATE fleetgauge.command_attempt AS a
SET
    status = fleetgauge.command_status(a.sent_at, a.delivered_at, a.responded_at, a.result, a.deadline_at, %(as_of)s::timestamptz),
    updated_at = clock_timestamp()
WHERE a.status IN ('queued', 'sent', 'delivered') AND a.deadline_at < %(as_of)s::timestamptz
