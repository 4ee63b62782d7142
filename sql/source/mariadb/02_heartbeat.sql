-- Run once on the production primary, by a DBA, after 01_reader.sql, in the database that the pipeline reads; the
-- program mariadb (or mysql) understands DELIMITER. It gives readers of a replica what the replica itself cannot know:
-- up to which instant every row that will ever carry an earlier change time is already there.
--
-- Needs event_scheduler = ON on the primary; without it let cron call `CALL fleetgauge_beat()` every few seconds, each in
-- a transaction of its own. Whoever makes the procedure needs the right PROCESS, by which other sessions are seen.
-- The server's own time zone must be one whose clocks never change, UTC best: InnoDB tells starts of transactions in it.

CREATE TABLE IF NOT EXISTS fleetgauge_heartbeat (
    id                int         NOT NULL PRIMARY KEY CHECK (id = 1),
    beat_at           datetime(6) NOT NULL COMMENT 'UTC',
    oldest_xact_start datetime(6) NOT NULL
        COMMENT 'UTC. No transaction that commits after this row was written carries an earlier NOW().',
    set_back          bigint      NOT NULL DEFAULT 0 COMMENT 'How often a heartbeat was earlier than the one before it.',
    set_back_to       datetime(6) NULL
        COMMENT 'The earliest oldest_xact_start of such heartbeats, of the last hour at least (UTC).'
) ENGINE = InnoDB;
GRANT SELECT ON fleetgauge_heartbeat TO fleetgauge_reader;

DELIMITER $$
CREATE OR REPLACE PROCEDURE fleetgauge_beat()
MODIFIES SQL DATA SQL SECURITY DEFINER
BEGIN
    -- The clock is read FIRST, the sessions afterwards. A transaction that the look at the sessions does not show has
    -- then either ended before it, and its rows reach the replica before this row does, or begins after it, and its
    -- NOW() is later than beat. One second covers what InnoDB tells: it looks ten times a second at most, in whole
    -- seconds; and a session that lost the CPU between its NOW() and showing itself.
    DECLARE beat datetime(6) DEFAULT UTC_TIMESTAMP(6);
    DECLARE transactions, statements datetime(6);

    -- Prepared ones (XA) are among them, whether or not their session still lives.
    SELECT MIN(CONVERT_TZ(t.trx_started, 'SYSTEM', '+00:00')) - INTERVAL 1 SECOND INTO transactions
    FROM information_schema.innodb_trx AS t
    WHERE t.trx_mysql_thread_id <> CONNECTION_ID();

    -- NOW() is when a statement began, which may have waited for a lock before it began a transaction.
    SELECT beat - INTERVAL CEILING(MAX(p.time_ms) / 1000) + 1 SECOND INTO statements
    FROM information_schema.processlist AS p
    WHERE p.id <> CONNECTION_ID() AND p.command IN ('Query', 'Execute', 'Prepare', 'Long Data', 'Fetch', 'Init DB');

    SET transactions = LEAST(beat - INTERVAL 1 SECOND, COALESCE(transactions, beat), COALESCE(statements, beat));
    INSERT INTO fleetgauge_heartbeat (id, beat_at, oldest_xact_start) VALUES (1, beat, transactions)
    ON DUPLICATE KEY UPDATE
        set_back_to = IF(VALUES(beat_at) < beat_at, LEAST(VALUES(oldest_xact_start), COALESCE(
            IF(set_back_to > VALUES(beat_at) - INTERVAL 1 HOUR, set_back_to, NULL), VALUES(oldest_xact_start))),
            set_back_to),
        set_back = set_back + (VALUES(beat_at) < beat_at),
        beat_at = VALUES(beat_at), oldest_xact_start = VALUES(oldest_xact_start);
END $$
DELIMITER ;

CREATE EVENT IF NOT EXISTS fleetgauge_beat ON SCHEDULE EVERY 2 SECOND DO CALL fleetgauge_beat();
