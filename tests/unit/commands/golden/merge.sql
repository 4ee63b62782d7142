-- The batch's events become rows of command_event, and their attempts rows of command_attempt. Every pick is a minimum
-- in the total order of an event's columns, hence commutative, associative and idempotent: order, duplicates and
-- batching of events do not matter. A row that stays the same is not written, so its `updated_at` stays too and dirties no window.
-- as_of is that of the *previous* run: what is still to come in this one must not be taken for absent.
WITH told AS (
    -- An event that is stored more than once is one event: its earliest copy.
    SELECT
        s.device_id, s.command_id, s.attempt, s.step, s.event_id,
        (array_agg(s ORDER BY s))[1] AS event,
        bool_or(s.disagrees) OR count(DISTINCT (s.at, s.requested_at, s.deadline_at, s.command_type, s.vehicle_model, s.firmware, s.carrier, s.sim, s.result, s.error_code, s.bytes)) > 1 AS disagrees,
        bool_or(s.known) AS known
    FROM staged_event AS s
    WHERE s.event_id <> ''
    GROUP BY s.device_id, s.command_id, s.attempt, s.step, s.event_id
),
grouped AS (
    SELECT
        t.device_id, t.command_id, t.attempt,
        -- The earliest step says what the attempt is, the earliest event of each step when it was.
        (array_agg(t.event ORDER BY t.event))[1] AS described,
        (array_agg(t.event ORDER BY t.event) FILTER (WHERE t.step = 2))[1] AS sent,
        (array_agg(t.event ORDER BY t.event) FILTER (WHERE t.step = 3))[1] AS delivered,
        (array_agg(t.event ORDER BY t.event) FILTER (WHERE t.step = 4))[1] AS responded,
        bool_or((t.event).result <> 'succeeded') AS unsuccessful_answer,
        bool_or(t.disagrees)
        OR count(DISTINCT ((t.event).requested_at, (t.event).deadline_at, (t.event).command_type, (t.event).vehicle_model, (t.event).carrier, (t.event).sim)) > 1
        OR count(DISTINCT ((t.event).result, (t.event).error_code)) FILTER (WHERE t.step = 4) > 1 AS conflicting
    FROM told AS t
    GROUP BY t.device_id, t.command_id, t.attempt
),
attempt AS (
    SELECT
        g.device_id, g.command_id, g.attempt,
        (g.described).step AS described_by,
        (g.described).requested_at AS requested_at, (g.described).deadline_at AS deadline_at, (g.described).command_type AS command_type, (g.described).vehicle_model AS vehicle_model, (g.described).firmware AS firmware, (g.described).carrier AS carrier, (g.described).sim AS sim,
        (g.sent).at AS sent_at, (g.delivered).at AS delivered_at, (g.responded).at AS responded_at,
        (g.responded).result AS result, (g.responded).error_code AS error_code,
        (g.sent).bytes AS sent_bytes, (g.delivered).bytes AS delivered_bytes, (g.responded).bytes AS responded_bytes,
        fleetgauge.command_status(
            (g.sent).at, (g.delivered).at, (g.responded).at, (g.responded).result,
            (g.described).deadline_at, %(as_of)s::timestamptz
        ) AS status,
        g.attempt = max(g.attempt) OVER command AS is_last,
        g.conflicting,
        coalesce((g.responded).result = 'succeeded' AND g.unsuccessful_answer, false) AS rolled_back,
        coalesce(bool_or((g.responded).result = 'succeeded' AND (g.responded).at > (g.described).deadline_at)
            OVER command, false) AS any_late_success
    FROM grouped AS g
    WINDOW command AS (PARTITION BY g.device_id, g.command_id)
),
event AS (
    SELECT (t.event).device_id, (t.event).command_id, (t.event).attempt, (t.event).step, (t.event).at, (t.event).requested_at, (t.event).deadline_at, (t.event).command_type, (t.event).vehicle_model, (t.event).firmware, (t.event).carrier, (t.event).sim, (t.event).result, (t.event).error_code, (t.event).bytes, (t.event).event_id, t.disagrees, true AS counted, t.known
    FROM told AS t
    UNION ALL
    -- An ack or an answer without `sent` proves a message that no event tells of: it has no id and no size, and the
    -- earliest proof's time. Once its `sent` is known it is not counted any more, but stays, at its place: a row that
    -- vanished would leave the metrics as they were.
    SELECT g.device_id, g.command_id, g.attempt, 2, coalesce((g.sent).at, least((g.delivered).at, (g.responded).at)), coalesce((g.sent).requested_at, (g.described).requested_at), coalesce((g.sent).deadline_at, (g.described).deadline_at), coalesce((g.sent).command_type, (g.described).command_type), coalesce((g.sent).vehicle_model, (g.described).vehicle_model), coalesce((g.sent).firmware, (g.described).firmware), coalesce((g.sent).carrier, (g.described).carrier), coalesce((g.sent).sim, (g.described).sim), NULL, NULL, NULL, '', false, (g.sent).at IS NULL, s.known IS NOT NULL
    FROM grouped AS g
    LEFT JOIN staged_event AS s ON s.event_id = '' AND s.device_id = g.device_id AND s.command_id = g.command_id AND s.attempt = g.attempt
    WHERE s.known IS NOT NULL OR ((g.sent).at IS NULL AND coalesce((g.delivered).at, (g.responded).at) IS NOT NULL)
),
-- Tables are partitioned by requested_at; where that changes, the row begins anew in another partition.
moved_event AS (
    DELETE FROM fleetgauge.command_event AS w
    USING staged_event AS s, event AS e
    WHERE s.known AND s.device_id = e.device_id AND s.command_id = e.command_id AND s.attempt = e.attempt AND s.step = e.step AND s.event_id = e.event_id AND s.requested_at <> e.requested_at
        AND w.device_id = s.device_id AND w.command_id = s.command_id AND w.attempt = s.attempt AND w.step = s.step AND w.event_id = s.event_id AND w.requested_at = s.requested_at
),
written_event AS (
    INSERT INTO fleetgauge.command_event AS w (device_id, command_id, attempt, step, at, requested_at, deadline_at, command_type, vehicle_model, firmware, carrier, sim, result, error_code, bytes, event_id, disagrees, counted, updated_at)
    SELECT e.device_id, e.command_id, e.attempt, e.step, e.at, e.requested_at, e.deadline_at, e.command_type, e.vehicle_model, e.firmware, e.carrier, e.sim, e.result, e.error_code, e.bytes, e.event_id, e.disagrees, e.counted, clock_timestamp()
    FROM event AS e
    ON CONFLICT (device_id, command_id, attempt, step, event_id, requested_at) DO UPDATE SET
        at = excluded.at, deadline_at = excluded.deadline_at, command_type = excluded.command_type, vehicle_model = excluded.vehicle_model, firmware = excluded.firmware, carrier = excluded.carrier, sim = excluded.sim, result = excluded.result, error_code = excluded.error_code, bytes = excluded.bytes, disagrees = excluded.disagrees, counted = excluded.counted, updated_at = excluded.updated_at
    WHERE (w.at, w.deadline_at, w.command_type, w.vehicle_model, w.firmware, w.carrier, w.sim, w.result, w.error_code, w.bytes, w.disagrees, w.counted)
        IS DISTINCT FROM (excluded.at, excluded.deadline_at, excluded.command_type, excluded.vehicle_model, excluded.firmware, excluded.carrier, excluded.sim, excluded.result, excluded.error_code, excluded.bytes, excluded.disagrees, excluded.counted)
),
moved_attempt AS (
    DELETE FROM fleetgauge.command_attempt AS w
    USING staged_event AS s, attempt AS a
    WHERE s.known AND s.device_id = a.device_id AND s.command_id = a.command_id AND s.attempt = a.attempt AND s.requested_at <> a.requested_at
        AND w.device_id = s.device_id AND w.command_id = s.command_id AND w.attempt = s.attempt AND w.requested_at = s.requested_at
),
written_attempt AS (
    INSERT INTO fleetgauge.command_attempt AS w (device_id, command_id, attempt, described_by, requested_at, deadline_at, command_type, vehicle_model, firmware, carrier, sim, sent_at, delivered_at, responded_at, result, error_code, sent_bytes, delivered_bytes, responded_bytes, status, is_last, conflicting, rolled_back, any_late_success, updated_at)
    SELECT a.device_id, a.command_id, a.attempt, a.described_by, a.requested_at, a.deadline_at, a.command_type, a.vehicle_model, a.firmware, a.carrier, a.sim, a.sent_at, a.delivered_at, a.responded_at, a.result, a.error_code, a.sent_bytes, a.delivered_bytes, a.responded_bytes, a.status, a.is_last, a.conflicting, a.rolled_back, a.any_late_success, clock_timestamp()
    FROM attempt AS a
    ON CONFLICT (device_id, command_id, attempt, requested_at) DO UPDATE SET described_by = excluded.described_by, deadline_at = excluded.deadline_at, command_type = excluded.command_type, vehicle_model = excluded.vehicle_model, firmware = excluded.firmware, carrier = excluded.carrier, sim = excluded.sim, sent_at = excluded.sent_at, delivered_at = excluded.delivered_at, responded_at = excluded.responded_at, result = excluded.result, error_code = excluded.error_code, sent_bytes = excluded.sent_bytes, delivered_bytes = excluded.delivered_bytes, responded_bytes = excluded.responded_bytes, status = excluded.status, is_last = excluded.is_last, conflicting = excluded.conflicting, rolled_back = excluded.rolled_back, any_late_success = excluded.any_late_success, updated_at = excluded.updated_at
    WHERE (w.described_by, w.deadline_at, w.command_type, w.vehicle_model, w.firmware, w.carrier, w.sim, w.sent_at, w.delivered_at, w.responded_at, w.result, w.error_code, w.sent_bytes, w.delivered_bytes, w.responded_bytes, w.status, w.is_last, w.conflicting, w.rolled_back, w.any_late_success) IS DISTINCT FROM (excluded.described_by, excluded.deadline_at, excluded.command_type, excluded.vehicle_model, excluded.firmware, excluded.carrier, excluded.sim, excluded.sent_at, excluded.delivered_at, excluded.responded_at, excluded.result, excluded.error_code, excluded.sent_bytes, excluded.delivered_bytes, excluded.responded_bytes, excluded.status, excluded.is_last, excluded.conflicting, excluded.rolled_back, excluded.any_late_success)
    RETURNING 1
)
SELECT
    (SELECT count(*) FROM written_attempt) AS written,
    (SELECT count(*) FROM attempt AS a WHERE a.conflicting) AS conflicts,
    -- New events whose id their device uses for another event too.
    (
        SELECT count(*)
        FROM (SELECT e.*, count(*) OVER (PARTITION BY e.device_id, e.event_id) AS uses FROM event AS e) AS n
        WHERE NOT n.known AND n.event_id <> '' AND (
            n.uses > 1
            OR EXISTS (
                SELECT FROM fleetgauge.command_event AS o
                WHERE o.device_id = n.device_id AND o.event_id = n.event_id
                    AND (o.command_id, o.attempt, o.step) <> (n.command_id, n.attempt, n.step)
            )
        )
    ) AS reused_ids
