-- The batch's events become rows of command_event, and their attempts rows of command_attempt. Every pick is a minimum
-- in the total order of an event's columns, hence commutative, associative and idempotent: order, duplicates and
-- batching of events do not matter. A row that stays the same is not written, so its `updated_at` stays too and dirties no window.
-- as_of is that of the *previous* run: what is still to come in this one must not be taken for absent.
WITH told AS (
    -- An event that is stored more than once is one event: its earliest copy.
    SELECT
        {staged_key},
        (array_agg(s ORDER BY s))[1] AS event,
        bool_or(s.disagrees) OR count(DISTINCT ({staged_rest})) > 1 AS disagrees,
        bool_or(s.known) AS known
    FROM staged_event AS s
    WHERE s.event_id <> ''
    GROUP BY {staged_key}
),
grouped AS (
    SELECT
        {told_attempt_key},
        -- The earliest step says what the attempt is, the earliest event of each step when it was.
        (array_agg(t.event ORDER BY t.event))[1] AS described,
        (array_agg(t.event ORDER BY t.event) FILTER (WHERE t.step = 2))[1] AS sent,
        (array_agg(t.event ORDER BY t.event) FILTER (WHERE t.step = 3))[1] AS delivered,
        (array_agg(t.event ORDER BY t.event) FILTER (WHERE t.step = 4))[1] AS responded,
        bool_or((t.event).result <> 'succeeded') AS unsuccessful_answer,
        bool_or(t.disagrees)
        OR count(DISTINCT ({agreed})) > 1
        OR count(DISTINCT ({answer})) FILTER (WHERE t.step = 4) > 1 AS conflicting
    FROM told AS t
    GROUP BY {told_attempt_key}
),
attempt AS (
    SELECT
        {grouped_attempt_key},
        (g.described).step AS described_by,
        {described},
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
    SELECT {told_event}, t.disagrees, true AS counted, t.known
    FROM told AS t
    UNION ALL
    -- An ack or an answer without `sent` proves a message that no event tells of: it has no id and no size, and the
    -- earliest proof's time. Once its `sent` is known it is not counted any more, but stays, at its place: a row that
    -- vanished would leave the metrics as they were.
    SELECT {implied_event}, false, (g.sent).at IS NULL, s.known IS NOT NULL
    FROM grouped AS g
    LEFT JOIN staged_event AS s ON s.event_id = '' AND {implied_same}
    WHERE s.known IS NOT NULL OR ((g.sent).at IS NULL AND coalesce((g.delivered).at, (g.responded).at) IS NOT NULL)
),
-- Tables are partitioned by requested_at; where that changes, the row begins anew in another partition.
moved_event AS (
    DELETE FROM fleetgauge.command_event AS w
    USING staged_event AS s, event AS e
    WHERE s.known AND {staged_same_event} AND s.requested_at <> e.requested_at
        AND {written_same_event} AND w.requested_at = s.requested_at
),
written_event AS (
    INSERT INTO fleetgauge.command_event AS w ({columns}, disagrees, counted, updated_at)
    SELECT {event_columns}, e.disagrees, e.counted, clock_timestamp()
    FROM event AS e
    ON CONFLICT ({event_key}, requested_at) DO UPDATE SET
        {event_assignments}, disagrees = excluded.disagrees, counted = excluded.counted, updated_at = excluded.updated_at
    WHERE ({written_event_values}, w.disagrees, w.counted)
        IS DISTINCT FROM ({excluded_event_values}, excluded.disagrees, excluded.counted)
),
moved_attempt AS (
    DELETE FROM fleetgauge.command_attempt AS w
    USING staged_event AS s, attempt AS a
    WHERE s.known AND {staged_same_attempt} AND s.requested_at <> a.requested_at
        AND {written_same_attempt} AND w.requested_at = s.requested_at
),
written_attempt AS (
    INSERT INTO fleetgauge.command_attempt AS w ({attempt_columns}, updated_at)
    SELECT {attempt_values}, clock_timestamp()
    FROM attempt AS a
    ON CONFLICT ({attempt_key}, requested_at) DO UPDATE SET {attempt_assignments}, updated_at = excluded.updated_at
    WHERE ({written_attempt_values}) IS DISTINCT FROM ({excluded_attempt_values})
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
