"""The servers that the other tests rely on are what they claim to be."""

from collections.abc import Callable
from time import monotonic, sleep

import psycopg
import pytest

from fleetlab.stack import PostgresState


def wait_for(condition: Callable[[], bool], limit_s: float = 20) -> None:
    end = monotonic() + limit_s
    while not condition():
        assert monotonic() < end, "condition not met in time"
        sleep(0.05)


def one(connection: psycopg.Connection, query: str) -> object:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def test_replica_streams_from_the_primary_and_refuses_writes(postgres: PostgresState) -> None:
    with (
        psycopg.connect(postgres.primary_app_url, autocommit=True) as primary,
        psycopg.connect(postgres.replica_admin_url, autocommit=True) as replica,
    ):
        primary.execute("CREATE TABLE stack_probe AS SELECT 41 + 1 AS answer")
        try:
            wait_for(lambda: one(replica, "SELECT to_regclass('stack_probe') IS NOT NULL") is True)
            assert one(replica, "SELECT answer FROM stack_probe") == 42
            assert one(replica, "SELECT pg_is_in_recovery()") is True
            assert one(primary, "SELECT pg_is_in_recovery()") is False
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                replica.execute("DELETE FROM stack_probe")
        finally:
            primary.execute("DROP TABLE stack_probe")


def test_logins_can_do_what_they_are_for_and_no_more(postgres: PostgresState) -> None:
    with psycopg.connect(postgres.replica_reader_url) as reader:
        assert one(reader, "SHOW statement_timeout") == "20s"
        assert one(reader, "SHOW default_transaction_read_only") == "on"
    with psycopg.connect(postgres.metrics_owner_url, autocommit=True) as owner:
        owner.execute("CREATE ROLE stack_probe_group")
        owner.execute("GRANT stack_probe_group TO fleetgauge, grafana")
        owner.execute("DROP ROLE stack_probe_group")
    for url in (postgres.metrics_writer_url, postgres.grafana_url, postgres.analyst_url):
        with psycopg.connect(url, autocommit=True) as login, pytest.raises(psycopg.Error):
            login.execute("CREATE TABLE stack_probe (n int)")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(postgres.url("metrics", "grafana", "airflow"))
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(postgres.grafana_url.replace(str(postgres.metrics), str(postgres.replica)))


def test_statements_are_counted_on_primary_and_replica_apart(postgres: PostgresState) -> None:
    with (
        psycopg.connect(postgres.replica_admin_url, autocommit=True) as replica,
        psycopg.connect(postgres.primary_admin_url, autocommit=True) as primary,
    ):
        replica.execute("SELECT 1 AS only_on_the_replica")
        count = "SELECT count(*) FROM pg_stat_statements WHERE query ~ '^SELECT .* AS only_on_the_replica'"
        assert one(replica, count) == 1
        assert one(primary, count) == 0
