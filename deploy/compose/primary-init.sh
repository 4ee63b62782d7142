#!/usr/bin/env bash
# Runs once, on the empty primary: the logins of production, and the one that the pipeline uses on the replica.
set -euo pipefail

psql --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" \
    --set replication="$REPLICATION_PASSWORD" --set app="$SCOOTER_APP_PASSWORD" --set reader="$FLEETGAUGE_READER_PASSWORD" <<'SQL'
CREATE ROLE replicator LOGIN REPLICATION PASSWORD :'replication';
CREATE ROLE scooter_app LOGIN PASSWORD :'app';
CREATE ROLE fleetgauge_reader LOGIN CONNECTION LIMIT 8 PASSWORD :'reader';
ALTER ROLE fleetgauge_reader SET default_transaction_read_only = on;
ALTER ROLE fleetgauge_reader SET statement_timeout = '20s';
CREATE DATABASE scooter OWNER scooter_app;
\connect scooter
ALTER SCHEMA public OWNER TO scooter_app;
CREATE EXTENSION pg_stat_statements;
SQL

# The reader may log in on the replica alone. pg_basebackup copies this file: `replica.sh` lets it in there.
{
    echo "host all fleetgauge_reader all reject"
    echo "host replication replicator samenet scram-sha-256"
    cat "$PGDATA/pg_hba.conf"
} > "$PGDATA/pg_hba.new"
mv "$PGDATA/pg_hba.new" "$PGDATA/pg_hba.conf"
