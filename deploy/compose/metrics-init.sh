#!/usr/bin/env bash
# Runs once, on the empty metrics cluster: logins and databases. Schemas and grants are made by `fleetgauge migrate`.
set -euo pipefail

psql --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" \
    --set owner="$FLEETGAUGE_OWNER_PASSWORD" --set writer="$FLEETGAUGE_PASSWORD" --set grafana="$GRAFANA_DB_PASSWORD" \
    --set analyst="$ANALYST_PASSWORD" --set airflow="$AIRFLOW_DB_PASSWORD" <<'SQL'
CREATE ROLE fleetgauge_owner LOGIN CREATEROLE PASSWORD :'owner';
CREATE ROLE fleetgauge LOGIN PASSWORD :'writer';
CREATE ROLE grafana LOGIN PASSWORD :'grafana';
CREATE ROLE analyst LOGIN PASSWORD :'analyst';
CREATE ROLE airflow LOGIN PASSWORD :'airflow';
-- The migration makes these logins members of its group roles.
GRANT fleetgauge, grafana, analyst TO fleetgauge_owner WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;
ALTER ROLE grafana SET statement_timeout = '10s';
ALTER ROLE grafana SET default_transaction_read_only = on;
ALTER ROLE analyst SET statement_timeout = '60s';
ALTER ROLE analyst SET default_transaction_read_only = on;
CREATE DATABASE metrics OWNER fleetgauge_owner;
REVOKE ALL ON DATABASE metrics FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE metrics TO fleetgauge, grafana, analyst;
CREATE DATABASE airflow OWNER airflow;
REVOKE ALL ON DATABASE airflow FROM PUBLIC;
SQL
