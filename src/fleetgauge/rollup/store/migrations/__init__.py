"""Alembic's scripts for the metrics database; run by `fleetgauge migrate`, never by the `alembic` command."""
