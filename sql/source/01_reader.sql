-- Run once on the production primary, by a superuser, in the database the pipeline reads. Grants reach the replica by
-- themselves. The login is made beforehand, with a password this file must not know:
--     CREATE ROLE fleetgauge_reader LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD '…';
-- In pg_hba.conf let it in on the replica only. What it may read is this list, which is what the metrics read (a test
-- compares the two), and the heartbeat that 02_heartbeat.sql grants; nothing else.

GRANT USAGE ON SCHEMA public TO fleetgauge_reader;
REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM fleetgauge_reader;
GRANT SELECT ON
    payments,
    rentals,
    unlock_requests,
    vehicle_state_log
TO fleetgauge_reader;

-- A second belt: the engine asks for the same in each session, and a standby refuses writes anyway.
ALTER ROLE fleetgauge_reader SET default_transaction_read_only = on;
ALTER ROLE fleetgauge_reader CONNECTION LIMIT 8;
