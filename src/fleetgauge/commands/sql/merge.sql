-- Each group of facts becomes its attempt. Every pick is a minimum in a total order (attributes: earliest step; a clock:
-- earliest time), hence commutative, associative and idempotent: order, duplicates and batching of events do not matter.
-- A row that stays the same is not written, so its `updated_at` stays too and dirties no window.
-- as_of is that of the *previous* fold: what is still to come in this one must not be taken for absent.
WITH picked AS (
    SELECT
        f.command_id,
        f.attempt,
        (array_agg(f ORDER BY
            f.described_by, f.requested_at, f.deadline_at, f.command_type COLLATE "C", f.device_id COLLATE "C",
            f.vehicle_model COLLATE "C", f.firmware COLLATE "C", f.carrier COLLATE "C", f.sim COLLATE "C"
        ))[1] AS described,
        (array_agg(f ORDER BY f.sent_at, f.sent_bytes) FILTER (WHERE f.sent_at IS NOT NULL))[1] AS sent,
        (array_agg(f ORDER BY f.delivered_at, f.delivered_bytes) FILTER (WHERE f.delivered_at IS NOT NULL))[1] AS delivered,
        (array_agg(f ORDER BY
            f.responded_at, f.result COLLATE "C", f.error_code COLLATE "C", f.responded_bytes
        ) FILTER (WHERE f.responded_at IS NOT NULL))[1] AS responded,
        -- Only the firmware may differ between the events of one attempt (an update reports the new one).
        count(DISTINCT (f.requested_at, f.deadline_at, f.command_type, f.device_id, f.vehicle_model, f.carrier, f.sim)) > 1
        OR count(DISTINCT (f.sent_at, f.sent_bytes)) FILTER (WHERE f.sent_at IS NOT NULL) > 1
        OR count(DISTINCT (f.delivered_at, f.delivered_bytes)) FILTER (WHERE f.delivered_at IS NOT NULL) > 1
        OR count(DISTINCT (f.responded_at, f.result, f.error_code, f.responded_bytes))
            FILTER (WHERE f.responded_at IS NOT NULL) > 1 AS conflicting
    FROM command_fact AS f
    GROUP BY f.command_id, f.attempt
),
merged AS (
    SELECT
        command_id,
        attempt,
        (described).described_by, (described).command_type, (described).device_id, (described).vehicle_model,
        (described).firmware, (described).carrier, (described).sim, (described).requested_at, (described).deadline_at,
        (sent).sent_at, (delivered).delivered_at, (responded).responded_at, (responded).result, (responded).error_code,
        (sent).sent_bytes, (delivered).delivered_bytes, (responded).responded_bytes,
        fleetgauge.command_status(
            (sent).sent_at, (delivered).delivered_at, (responded).responded_at, (responded).result,
            (described).deadline_at, %(as_of)s::timestamptz
        ) AS status,
        attempt = max(attempt) OVER (PARTITION BY command_id) AS is_last,
        conflicting
    FROM picked
),
written AS (
    INSERT INTO fleetgauge.command_attempt AS a (
        command_id, attempt, described_by, command_type, device_id, vehicle_model, firmware, carrier, sim,
        requested_at, deadline_at, sent_at, delivered_at, responded_at, result, error_code,
        sent_bytes, delivered_bytes, responded_bytes, status, is_last, created_at, updated_at
    )
    SELECT
        m.command_id, m.attempt, m.described_by, m.command_type, m.device_id, m.vehicle_model, m.firmware, m.carrier, m.sim,
        m.requested_at, m.deadline_at, m.sent_at, m.delivered_at, m.responded_at, m.result, m.error_code,
        m.sent_bytes, m.delivered_bytes, m.responded_bytes, m.status, m.is_last, clock_timestamp(), clock_timestamp()
    FROM merged AS m
    ON CONFLICT (command_id, attempt) DO UPDATE SET
        described_by = excluded.described_by,
        command_type = excluded.command_type,
        device_id = excluded.device_id,
        vehicle_model = excluded.vehicle_model,
        firmware = excluded.firmware,
        carrier = excluded.carrier,
        sim = excluded.sim,
        requested_at = excluded.requested_at,
        deadline_at = excluded.deadline_at,
        sent_at = excluded.sent_at,
        delivered_at = excluded.delivered_at,
        responded_at = excluded.responded_at,
        result = excluded.result,
        error_code = excluded.error_code,
        sent_bytes = excluded.sent_bytes,
        delivered_bytes = excluded.delivered_bytes,
        responded_bytes = excluded.responded_bytes,
        status = excluded.status,
        is_last = excluded.is_last,
        updated_at = excluded.updated_at
    WHERE (
        a.described_by, a.command_type, a.device_id, a.vehicle_model, a.firmware, a.carrier, a.sim, a.requested_at, a.deadline_at,
        a.sent_at, a.delivered_at, a.responded_at, a.result, a.error_code, a.sent_bytes, a.delivered_bytes, a.responded_bytes,
        a.status, a.is_last
    ) IS DISTINCT FROM (
        excluded.described_by, excluded.command_type, excluded.device_id, excluded.vehicle_model, excluded.firmware,
        excluded.carrier, excluded.sim, excluded.requested_at, excluded.deadline_at, excluded.sent_at, excluded.delivered_at,
        excluded.responded_at, excluded.result, excluded.error_code, excluded.sent_bytes, excluded.delivered_bytes,
        excluded.responded_bytes, excluded.status, excluded.is_last
    )
    RETURNING 1
)
SELECT (SELECT count(*) FROM written) AS written, (SELECT count(*) FROM merged AS m WHERE m.conflicting) AS conflicts
