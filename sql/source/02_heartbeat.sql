-- Run once on the production primary, by a superuser, after 01_reader.sql. It gives readers of a replica what the replica
-- itself cannot know: up to which instant every row that will ever carry an earlier `updated_at` is already there.
--
-- Production calls `SELECT fleetgauge_beat()` every few seconds, in a transaction of its own: the app's scheduler, or
--     SELECT cron.schedule('fleetgauge-beat', '2 seconds', 'SELECT fleetgauge_beat()');
-- The laboratory's app logs in as scooter_app; put your own role in the last line.

CREATE TABLE IF NOT EXISTS fleetgauge_heartbeat (
    id                integer     PRIMARY KEY CHECK (id = 1),
    beat_at           timestamptz NOT NULL,
    oldest_xact_start timestamptz NOT NULL
);
-- What a look now and then cannot see: a clock that was set back, and perhaps forward again, in between.
ALTER TABLE fleetgauge_heartbeat ADD COLUMN IF NOT EXISTS set_back bigint NOT NULL DEFAULT 0;
ALTER TABLE fleetgauge_heartbeat ADD COLUMN IF NOT EXISTS set_back_to timestamptz;
COMMENT ON COLUMN fleetgauge_heartbeat.set_back IS 'How often a heartbeat was earlier than the one before it.';
COMMENT ON COLUMN fleetgauge_heartbeat.set_back_to IS 'The earliest oldest_xact_start of such heartbeats, of the last hour at least.';
COMMENT ON COLUMN fleetgauge_heartbeat.oldest_xact_start IS
    'No transaction that commits after this row was written carries an earlier now().';
GRANT SELECT ON fleetgauge_heartbeat TO fleetgauge_reader;

-- SECURITY DEFINER with a superuser as owner (or a member of pg_read_all_stats that may write the table): other sessions'
-- xact_start is hidden from ordinary roles.
CREATE OR REPLACE FUNCTION fleetgauge_beat() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- The clock is read FIRST, the sessions afterwards. A transaction that the look at the sessions does not show has
    -- then either ended before it, and its rows reach the replica before this row does, or begins after it, and its
    -- now() is later than beat. The other way round, one that begins between the two would be missed: it is not among
    -- the sessions and its now() is earlier than beat.
    beat   timestamptz := clock_timestamp();
    oldest timestamptz;
    parked timestamptz;
BEGIN
    PERFORM pg_stat_clear_snapshot();  -- this transaction may have looked before

    -- A session takes its now() a moment before it shows it; the second covers a session that lost the CPU in between.
    -- Autovacuum writes no rows of ours and may run for hours.
    SELECT least(beat - interval '1 second', min(a.xact_start)) INTO oldest
    FROM pg_stat_activity a
    WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.backend_type <> 'autovacuum worker';

    -- Prepared transactions have no session, so they are looked for after the sessions: one that is prepared meanwhile
    -- is seen in one of the two places. `prepared` says when it was prepared, while its rows carry the earlier instant
    -- at which it began. That is not recorded, but the last beat had allowed for it. So while one waits, the mark stays.
    SELECT min(p.prepared) INTO parked FROM pg_prepared_xacts p WHERE p.database = current_database();
    IF parked IS NOT NULL THEN
        oldest := least(oldest, parked, coalesce(
            (SELECT h.oldest_xact_start FROM public.fleetgauge_heartbeat h WHERE h.id = 1), to_timestamp(0)));
    END IF;

    INSERT INTO public.fleetgauge_heartbeat AS h (id, beat_at, oldest_xact_start) VALUES (1, beat, oldest)
    ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at, oldest_xact_start = excluded.oldest_xact_start,
        set_back = h.set_back + (excluded.beat_at < h.beat_at)::integer,
        set_back_to = CASE WHEN excluded.beat_at < h.beat_at THEN least(excluded.oldest_xact_start,
            CASE WHEN h.set_back_to > excluded.beat_at - interval '1 hour' THEN h.set_back_to END)
            ELSE h.set_back_to END;
END $$;

REVOKE ALL ON FUNCTION fleetgauge_beat() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION fleetgauge_beat() TO scooter_app;
