"""A database, or something before it, holds its connections and passes nothing on: no FIN, no RST."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from cli_world import Shell
from fault_table import fault
from rollup_world import World
from tests.silent_peers import Relay

from fleetgauge import following, postgres
from fleetgauge.addresses import DatabaseUrl
from fleetgauge.errors import Conflict
from fleetgauge.following import Follower
from fleetgauge.postgres import postgres_in_time
from fleetgauge.settings import MetricsSettings, Settings, SourceSettings, load

NOW = datetime.now(UTC).replace(second=0, microsecond=0)


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_in_time, "LOOK_S", 1.0)
    monkeypatch.setattr("fleetgauge.postgres.database.PROBE_S", 2.0)


def _through(url: DatabaseUrl) -> tuple[Relay, DatabaseUrl]:
    text = url.get_secret_value()
    port = urlsplit(text).port
    assert port is not None
    relay = Relay(port)
    return relay, DatabaseUrl(text.replace(f":{port}/", f":{relay.port}/"))


@pytest.fixture
def relayed(world: World) -> Iterator[tuple[Relay, postgres.Database]]:
    relay, url = _through(world.settings.metrics.url)
    with relay:
        yield relay, postgres.metrics(MetricsSettings(url=url))


def test_a_long_statement_is_waited_for_as_long_as_the_server_is_at_work(
    relayed: tuple[Relay, postgres.Database],
) -> None:
    _, database = relayed
    with database.session("trial") as connection:
        assert connection.execute("SELECT pg_sleep(4), 1").fetchone() is not None


@pytest.mark.parametrize("newcomers", [True, False], ids=["all silent", "this one lost"])
def test_an_answer_that_is_lost_is_not_waited_for(relayed: tuple[Relay, postgres.Database], newcomers: bool) -> None:
    relay, database = relayed
    threading.Timer(0.5, relay.silence, kwargs={"newcomers": newcomers}).start()
    began = time.monotonic()
    with (
        pytest.raises(Conflict, match="the metrics database broke off: no answer within"),
        database.session("trial") as connection,
        connection.transaction(),
    ):
        connection.execute("SELECT pg_sleep(1.5)")
    assert time.monotonic() - began < 12


@pytest.fixture
def shell(world: World, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    made = Shell(world, tmp_path_factory.mktemp("content"))
    made.configure()
    made.write()
    made("migrate")
    world.insert(NOW - timedelta(hours=2))
    world.beat()
    world.catch_up()
    return made


def _silent_later(settings: Settings, side: str) -> tuple[Relay, Settings]:
    if side == "source":
        relay, url = _through(settings.source("operations").url)
        source = SourceSettings(url=url, statement_timeout_s=600)
        return relay, settings.model_copy(update={"sources": {"operations": source}})
    relay, url = _through(settings.metrics.url)
    return relay, settings.model_copy(update={"metrics": MetricsSettings(url=url)})


@fault(
    "The replica, or something before it, holds its connections and passes nothing on",
    number="as before; computed once it answers again",
    freshness="late, by how long nothing came",
    doctor="fail: gave no answer within 15 s",
    exporter="fleetgauge_rollup_failing 1, and lag grows",
    exit_code="75 of run, after each try's `statement_timeout_s` and ten seconds",
)
def test_a_source_that_falls_silent_is_tried_again_and_the_number_comes(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleetgauge.postgres.database.PATIENCE_S", 0.0)
    settings = load(shell.config)
    relay, url = _through(settings.source("operations").url)
    source = SourceSettings(url=DatabaseUrl(f"{url.get_secret_value()}?connect_timeout=2"), statement_timeout_s=1)
    with relay:
        follower = Follower(settings.model_copy(update={"sources": {"operations": source}}), "operations")
        follower.one_round()
        assert follower.patience_of("ride").failures == 0
        relay.silence()
        shell.world.insert(NOW - timedelta(hours=1))
        shell.world.beat()
        shell.world.catch_up()
        began = time.monotonic()
        follower.one_round()
        assert follower.patience_of("ride").failures == 1 and time.monotonic() - began < 60
        failing = shell.world.metrics.execute("SELECT error FROM fleetgauge.activity WHERE metric = 'ride'").fetchone()
        assert failing is not None and failing[0] is not None
        relay.speak()
        follower.patience.clear()
        follower.one_round()
        assert follower.patience_of("ride").failures == 0
        follower.close()
    counted = shell.world.metrics.execute("SELECT sum(n) FROM metrics.ride_minute").fetchone()
    facts = shell.world.app.execute("SELECT count(*) FROM facts").fetchone()
    assert counted is not None and facts is not None and counted[0] == facts[0]


@pytest.mark.parametrize("side", ["source", "metrics"])
@pytest.mark.parametrize("signals", [1, 3])
def test_a_process_that_follows_ends_when_asked_while_a_database_is_silent(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, side: str, signals: int
) -> None:
    monkeypatch.setattr(postgres_in_time, "LOOK_S", 600.0)
    monkeypatch.setattr(following, "END_S", 2.0 if signals == 1 else 600.0)
    relay, settings = _silent_later(load(shell.config), side)

    def ask() -> None:
        time.sleep(3)
        relay.silence()
        time.sleep(2)
        for _ in range(signals):
            if not over.is_set():
                os.kill(os.getpid(), signal.SIGTERM)
            over.wait(1)

    over = threading.Event()
    with relay:
        asking = threading.Thread(target=ask)
        asking.start()
        began = time.monotonic()
        following.follow(settings, "operations", every_s=0.3)
        took = time.monotonic() - began
        over.set()
        asking.join()
    assert took < 25
