"""Alembic's environment: runs on the connection that `fleetgauge.rollup.store.migrate` opened under its lock."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, version_table_schema="fleetgauge", transaction_per_migration=False)
with context.begin_transaction():
    context.run_migrations()
