"""Suspects on real servers: trips on a replica, telemetry in Elasticsearch, results in the metrics database."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from bench.suspects.company import look
from elasticsearch import Elasticsearch, helpers
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from fleetgauge import suspects
from fleetgauge.cli import main
from fleetgauge.contracts import ContractSet
from fleetgauge.contracts import load as load_contracts
from fleetgauge.errors import Conflict, Stop, Terminal
from fleetgauge.fleet.replica_trips import ReplicaPatience, replica_trips
from fleetgauge.fleet.suspect_exports import SuspectsCollector
from fleetgauge.fleet.suspect_method import Method, load
from fleetgauge.fleet.suspect_run import DayReport, run_days
from fleetgauge.fleet.telemetry_documents import TripDocuments
from fleetgauge.ingest.indices.event_indices import suffix_fields
from fleetgauge.settings import ElasticsearchSettings, MetricsSettings, Settings, SourceSettings
from fleetlab.simulator import Scale, Timeline, operations
from fleetlab.simulator.records import VALID, Record
from fleetlab.simulator.rhythm import CITY_TIME
from fleetlab.simulator.stops import Stops
from fleetlab.stack import ElasticsearchState, PostgresState

ROOT = Path(__file__).parents[3]
KINDS = ("location", "battery", "device_error", "tip_over", "odometer")
SEED = 7


@dataclass(frozen=True)
class World:
    """A small company on the servers of the run, with databases and an index of its own."""

    plan: Timeline
    settings: Settings
    method: Method
    index: str
    name: str
    held_back: list[Record]
    """Fault codes of one vehicle that come after the first run."""
    client: Elasticsearch
    postgres: PostgresState

    def run(self, **options: object) -> list[DayReport]:
        until = options.pop("until", None) or datetime.now(UTC)
        return run_days(self.settings, self.method, self.index, until, **options)  # type: ignore[arg-type]

    def points(self) -> dict[tuple[date, str], float]:
        with psycopg.connect(self.settings.metrics.url.get_secret_value()) as connection:
            rows = connection.execute("SELECT date, vehicle, points FROM metrics.suspect_vehicle_day")
            return {(day, vehicle): points for day, vehicle, points in rows}

    def store(self, records: list[Record]) -> None:
        helpers.bulk(
            self.client,
            (
                {
                    "_op_type": "create",
                    "_index": f"{self.index}-2026.11.01",
                    "_id": f"{one.device}:{one.event_id}",
                    "_source": {
                        **json.loads(one.value or b""),
                        "@timestamp": one.event_ms,
                        "event.ingested": one.append_ms,
                        "kafka.partition": one.partition,
                        "kafka.offset": number,
                    },
                }
                for number, one in enumerate(records)
            ),
        )


@pytest.fixture(scope="module")
def world(postgres: PostgresState, metrics_template: str, elasticsearch: ElasticsearchState) -> Iterator[World]:
    name = f"fleet_{uuid4().hex[:10]}"
    midnight = datetime.now(CITY_TIME).replace(hour=0, minute=0, second=0, microsecond=0)
    scale = Scale(vehicles=60, days=4, seed=SEED, live_seconds=0, stops=Stops(ageing=0.1, decoys=1.5))
    plan = Timeline.ending(scale, midnight)
    app, dba = (postgres.url("primary", login, name) for login in ("scooter_app", "postgres"))
    with psycopg.connect(postgres.primary_admin_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} OWNER scooter_app")
    with psycopg.connect(postgres.metrics_admin_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} OWNER fleetgauge_owner TEMPLATE {metrics_template}")
    client = Elasticsearch(elasticsearch.url)
    try:
        engine = operations.app_engine(app)
        operations.create_schema(engine)
        engine.dispose()
        operations.run_source_sql(dba, ROOT / "sql" / "source")
        operations.copy_history(app, plan)
        with psycopg.connect(app) as connection:
            connection.execute("SELECT fleetgauge_beat()")
            connection.commit()
            lsn = connection.execute("SELECT pg_current_wal_lsn()").fetchone()
        wait_for_replica(postgres, name, lsn)
        contracts = load_contracts(ROOT / "schemas" / "events")
        mapping = ContractSet([contracts[kind] for kind in KINDS]).mapping(suffix_fields(True))
        index = name.replace("_", "-")
        client.indices.create(index=f"{index}-2026.11.01", mappings=mapping, aliases={index: {}})
        settings = Settings(
            content=ROOT,
            metrics=MetricsSettings(url=SecretStr(postgres.url("metrics", "fleetgauge", name))),  # type: ignore[arg-type]
            elasticsearch=ElasticsearchSettings(url=elasticsearch.url),
            sources={
                "operations": SourceSettings(url=SecretStr(postgres.url("replica", "fleetgauge_reader", name)))  # type: ignore[arg-type]
            },
        )
        records = [r for _, found in plan.telemetry() for r in found if r.fault == VALID and r.value]
        device = next(
            r.vehicle.code
            for r in plan.trips.rentals
            if r.stopped_ms and r.course and r.course.faults and r.course.late_until_ms is None
        )
        held = [r for r in records if r.device == device and r.kind == "device_error"]
        found = World(plan, settings, load(ROOT), index, name, held, client, postgres)
        found.store([r for r in records if r not in held])
        yield found
    finally:
        client.options(ignore_status=404).indices.delete(index=f"{name.replace('_', '-')}-2026.11.01")
        client.close()
        for url in (postgres.primary_admin_url, postgres.metrics_admin_url):
            with psycopg.connect(url, autocommit=True) as admin:
                admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def wait_for_replica(postgres: PostgresState, name: str, lsn: object) -> None:
    with closing(psycopg.connect(postgres.url("replica", "postgres", name), autocommit=True)) as replica:
        assert isinstance(lsn, tuple)
        for _ in range(600):
            row = replica.execute(
                "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn, pg_sleep(0.05)", [str(lsn[0])]
            ).fetchone()
            if row and row[0]:
                return
    raise AssertionError("the replica has not followed")


def test_a_dry_run_changes_nothing_and_an_incomplete_day_waits(world: World) -> None:
    planned = world.run(dry_run=True)
    assert {one.state for one in planned} == {"would be judged"} and len(planned) >= 4
    early = world.plan.live_from - timedelta(days=1, hours=2)
    deferred = world.run(until=early, days=[one.date for one in planned])
    assert [one.state for one in deferred].count("deferred") >= 1
    assert all("documents" in one.why for one in deferred if one.state == "deferred")
    with psycopg.connect(world.settings.metrics.url.get_secret_value()) as connection:
        judged = {row[0] for row in connection.execute("SELECT date FROM fleetgauge.suspect_day")}
    assert not judged & {one.date for one in deferred if one.state == "deferred"}


def test_every_point_is_what_the_pure_functions_give_and_a_second_run_has_nothing_to_do(world: World) -> None:
    world.run()
    assert world.run() == []
    held = {r.event_id for r in world.held_back}
    expected = {}
    for one in look(world.plan, world.method.rules):
        if any(e.standing.trip.is_open for e in one.episodes):
            continue  # it goes on until now
        assert one.vehicle != world.held_back[0].device or held
        expected[one.day, one.vehicle] = sum(e.points for e in one.episodes)
    stored = world.points()
    late = world.held_back[0].device
    same = {key for key in expected if key[1] != late}
    assert same and {key: stored[key] for key in same} == pytest.approx({key: expected[key] for key in same})

    before = {key: points for key, points in stored.items() if key[1] == late}
    world.store(world.held_back)
    again = world.run()
    assert again and all("documents" in one.why for one in again)
    assert len(again) < 4
    after = {key: points for key, points in world.points().items() if key[1] == late}
    assert sum(after.values()) > sum(before.values())
    assert {k: v for k, v in after.items() if k in expected} == pytest.approx(
        {k: v for k, v in expected.items() if k[1] == late}
    )
    rerun = world.run(days=[again[0].date])
    assert [one.why for one in rerun] == ["asked for"]
    assert {key: points for key, points in world.points().items() if key[1] == late} == pytest.approx(after)


def test_suspects_are_those_that_stop_and_the_repair_closes_the_loop(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world.run()
    found = suspects.suspects(world.settings)
    stopped = {r.vehicle.code for r in world.plan.trips.rentals if r.stopped_ms}
    told = {one.vehicle for one in found}
    assert found and len(told & stopped) / len(told) >= 0.7 and len(told & stopped) / len(stopped) >= 0.6, SEED
    registry = CollectorRegistry()
    registry.register(SuspectsCollector(world.settings, "Asia/Seoul"))
    assert registry.get_sample_value("fleetgauge_fleet_suspects") == len(found)
    assert 0 <= (registry.get_sample_value("fleetgauge_fleet_suspects_new") or 0) <= len(found)
    assert (registry.get_sample_value("fleetgauge_fleet_trips") or 0) > 0
    first = found[0]
    assert first.score > 0 and any("fault code" in reason for reason in first.reasons)
    (trip,) = {r.id for r in world.plan.trips.rentals if r.id == first.evidence[0]["trip"]}
    assert first.evidence[0]["reasons"][0]["events"][0]["id"] and trip

    on = first.last
    monkeypatch.setenv("FLEETGAUGE_METRICS__URL", world.settings.metrics.url.get_secret_value())
    monkeypatch.setenv("FLEETGAUGE_CONTENT", str(ROOT))
    monkeypatch.delenv("FLEETGAUGE_CONFIG", raising=False)
    monkeypatch.chdir(ROOT)
    marked = ["fleet", "repaired", first.vehicle, "--on", str(on), "--found", "true"]
    assert json.loads(cli(monkeypatch, capsys, *marked, "--dry-run", "--json"))["dry_run"] is True
    assert first.vehicle in cli(monkeypatch, capsys, "fleet", "suspects")
    cli(monkeypatch, capsys, *marked)
    now = json.loads(cli(monkeypatch, capsys, "fleet", "suspects", "--date", str(on), "--json"))
    assert first.vehicle not in {one["vehicle"] for one in now}
    earlier = json.loads(cli(monkeypatch, capsys, "fleet", "suspects", "--last", "14d", "--json"))
    assert told - {first.vehicle} <= {one["vehicle"] for one in earlier}

    suspects.repaired(world.settings, "sc-none", on, found=True)
    with psycopg.connect(world.postgres.url("metrics", "grafana", world.name)) as viewer:
        row = viewer.execute("SELECT repaired, suspects, found, precision, missed FROM metrics.suspect_precision")
        assert row.fetchone() == (2, 1, 1, 1, 1)
        shown = viewer.execute(
            "SELECT suspect, found FROM metrics.suspect_vehicle_day WHERE vehicle = %s AND date = %s",
            [first.vehicle, on],
        ).fetchone()
        assert shown == (True, True)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            viewer.execute("SELECT * FROM fleetgauge.suspect_repair")
    with pytest.raises(Terminal, match="has not come yet"):
        suspects.repaired(world.settings, first.vehicle, date(2999, 1, 1), found=True)


def test_the_primary_is_never_read(world: World) -> None:
    primary = SourceSettings(url=SecretStr(world.postgres.url("primary", "postgres", world.name)))  # type: ignore[arg-type]
    wrong = replace(world, settings=world.settings.model_copy(update={"sources": {"operations": primary}}))
    with pytest.raises(Stop, match="not a standby"):
        wrong.run()


def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    monkeypatch.setattr(sys, "argv", ["fleetgauge", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert not ended.value.code, said.err
    return said.out


@contextmanager
def conflicts(world: World) -> Iterator[Callable[[], None]]:
    """What VACUUM cleans up on the primary breaks off at once whoever still looks at it on the replica."""
    primary = psycopg.connect(world.postgres.url("primary", "postgres", world.name), autocommit=True)
    replica = psycopg.connect(world.postgres.replica_admin_url, autocommit=True)

    def clean_up() -> None:
        primary.execute("UPDATE rentals SET status = status WHERE id IN (SELECT id FROM rentals LIMIT 50)")
        primary.execute("VACUUM rentals")
        primary.execute("SELECT fleetgauge_beat()")
        wait_for_replica(world.postgres, world.name, primary.execute("SELECT pg_current_wal_flush_lsn()").fetchone())

    replica.execute("ALTER SYSTEM SET max_standby_streaming_delay = '10ms'")
    replica.execute("SELECT pg_reload_conf()")
    try:
        yield clean_up
    finally:
        replica.execute("ALTER SYSTEM RESET max_standby_streaming_delay")
        replica.execute("SELECT pg_reload_conf()")
        primary.close()
        replica.close()


def test_nothing_is_open_on_the_replica_while_a_day_is_judged(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.run()
    before = world.points()
    days = sorted({day for day, _ in before})[:2]
    with conflicts(world) as clean_up:
        real = TripDocuments.of_trips

        def slow(self: TripDocuments, trips: object) -> object:
            clean_up()
            return real(self, trips)  # type: ignore[arg-type]

        monkeypatch.setattr(TripDocuments, "of_trips", slow)
        assert [one.state for one in world.run(days=days)] == ["judged", "judged"]
    assert world.points() == pytest.approx(before)


def test_a_piece_that_the_replica_breaks_off_is_read_again_and_smaller(world: World) -> None:
    """A row takes long, so that each piece of more than a few trips meets a conflict."""
    begin, end = (world.plan.live_from - timedelta(hours=hours) for hours in (8, 2))
    with replica_trips(world.settings, world.method) as replica:
        expected = replica.trips(begin, end)
    assert len(expected) > 20
    slow = "SELECT t.* FROM ({}) AS t CROSS JOIN LATERAL (SELECT pg_sleep(0.01) WHERE t.trip IS NOT NULL) AS s"
    method = replace(world.method, trips_sql=slow.format(world.method.trips_sql))
    stop, broken = threading.Event(), "SELECT sum(confl_snapshot) FROM pg_stat_database_conflicts"
    with (
        conflicts(world) as clean_up,
        psycopg.connect(world.postgres.replica_admin_url, autocommit=True) as admin,
        ThreadPoolExecutor(1) as pool,
    ):

        def often() -> None:
            while not stop.wait(0.3):
                clean_up()

        (before,) = admin.execute(broken).fetchone() or (0,)
        cleaning = pool.submit(often)
        try:
            with replica_trips(world.settings, method, ReplicaPatience(tries=30, pause_s=0.001)) as replica:
                found = replica.trips(begin, end)
        finally:
            stop.set()
            cleaning.result()
        (after,) = admin.execute(broken).fetchone() or (0,)
    assert found == expected and after > before
    with (
        conflicts(world) as clean_up,
        replica_trips(world.settings, method, ReplicaPatience(tries=1)) as replica,
        ThreadPoolExecutor(1) as pool,
    ):
        cleaned = pool.submit(lambda: [clean_up() for _ in range(3)])
        with pytest.raises(Conflict, match="broke off"):
            replica.trips(begin, end)
        cleaned.result()
