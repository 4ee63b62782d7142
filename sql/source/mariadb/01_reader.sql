-- Run once on the production primary (MariaDB 10.6 or later), by a DBA, in the database that the pipeline reads. Grants
-- reach the replica by themselves. The login is made beforehand, with a password that this file must not know:
--     CREATE USER fleetgauge_reader@'10.0.%' IDENTIFIED BY '…' REQUIRE SSL;
-- On MySQL 8 put REPLICATION CLIENT in place of REPLICA MONITOR, and leave out the line after it.

-- Whether the server that answers still is a replica: the engine asks before each look, and reads nothing if it is not.
GRANT REPLICA MONITOR ON *.* TO fleetgauge_reader;
ALTER USER fleetgauge_reader WITH MAX_USER_CONNECTIONS 8;

-- What it may read: each table that a source.sql names, one line each, and the heartbeat of 02_heartbeat.sql; nothing
-- else. For example:
--     GRANT SELECT ON orders TO fleetgauge_reader;
