#!/usr/bin/env bash
# A streaming hot standby: copies the primary the first time, follows it ever after.
set -euo pipefail

if [ "$(id -u)" = 0 ]; then
    install -d -o postgres -g postgres -m 0700 "$PGDATA"
    exec gosu postgres "$BASH" "$0" "$@"
fi

if [ ! -f "$PGDATA/PG_VERSION" ]; then
    # A copy that broke off leaves the slot or half a folder behind.
    find "$PGDATA" -mindepth 1 -delete
    export PGPASSWORD="$REPLICATION_PASSWORD"
    psql --quiet --host primary --username replicator --dbname "dbname=postgres replication=true" \
        --command "DROP_REPLICATION_SLOT replica1" >/dev/null 2>&1 || true
    pg_basebackup --host primary --username replicator --pgdata "$PGDATA" \
        --write-recovery-conf --create-slot --slot replica1 --wal-method stream --checkpoint fast
    unset PGPASSWORD
    sed -i '/fleetgauge_reader all reject$/d' "$PGDATA/pg_hba.conf"
fi

exec postgres "$@"
