"""After an erasure no store, export, log or dead letter holds the id, and every number but that of persons stays."""

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingest_world import TO_THE_END
from ingest_world import World as Ingest
from rollup_world import SECRET, definition
from rollup_world import World as Rollup
from typer.testing import CliRunner

from fleetgauge.cli import app as cli
from fleetgauge.elasticsearch.transport import Answer, Bulk
from fleetgauge.erasure.erase import ErasureOrder, erase, written_receipts
from fleetgauge.erasure.freed_dead_letters import log_until
from fleetgauge.errors import Transient
from fleetgauge.ingest.consumer import load_consumer
from fleetgauge.ingest.operate.launch import consume
from fleetgauge.settings import Settings

RIDER, OTHER = "r-00421x", "r-00421x7"
"""Whom we erase, and somebody whose id begins alike."""
ID = {"type": "string", "minLength": 1, "maxLength": 40, "pattern": "^[A-Za-z0-9._-]+$"}
TRIP: dict[str, Any] = {
    "title": "trip",
    "description": "A trip that ended.",
    "type": "object",
    "required": ["kind", "version", "event", "device", "timestamp", "rider_id", "fare"],
    "properties": {
        "kind": {"const": "trip"},
        "version": {"type": "integer", "minimum": 1, "maximum": 1},
        "event": {"type": "object", "required": ["id"], "properties": {"id": ID}},
        "device": {"type": "object", "required": ["id"], "properties": {"id": ID}},
        "timestamp": {"type": "integer", "minimum": 0, "maximum": 4102444800000, "format": "epoch_millis"},
        "rider_id": {**ID, "subject": "rider"},
        "group": {"type": "array", "items": {**ID, "subject": "rider"}},
        "fare": {"type": "integer", "minimum": 0, "maximum": 1000000},
    },
}
DAY = (datetime.now(UTC) - timedelta(days=1)).replace(hour=10, minute=0, second=0, microsecond=0)


def trip(number: int, rider: str, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "trip",
        "version": 1,
        "event": {"id": f"t{number}"},
        "device": {"id": f"sc-{number % 5}"},
        "timestamp": int(time.time() * 1000),
        "rider_id": rider,
        "fare": 1000 + number,
        **changes,
    }


GOOD = [
    *(trip(n, RIDER if n % 4 == 0 else OTHER) for n in range(40)),
    trip(40, RIDER.upper(), note=f"called by {RIDER}", nested={"who": [RIDER, OTHER]}),
    trip(41, OTHER, group=[OTHER, RIDER]),
]
NAMING = [n for n in range(40) if n % 4 == 0] + [40, 41]
BROKEN = [
    f'{{"kind": "trip", "rider_id": "{RIDER}", "fare"'.encode(),
    f"rider_id={RIDER.upper()}&fare=1".encode(),
    b'{"kind": "trip", "rider_id": "r%2D00421x"',
    b'{"kind": "trip", "rider_id": "\\u0072-0042\\u0031x", "fare": -1}',
    json.dumps(trip(90, RIDER, fare=-5)).encode(),
    json.dumps(trip(91, OTHER, fare=-5)).encode(),
]


class FaultyBulk:
    """Elasticsearch that is gone at the n-th request."""

    def __init__(self, bulk: Bulk, at: int) -> None:
        self._bulk, self._left = bulk, at

    def request(self, method: str, path: str, body: bytes | None) -> Answer:
        """See `Bulk.request`."""
        self._left -= 1
        if self._left < 0:
            raise Transient("Elasticsearch is gone")
        return self._bulk.request(method, path, body)


@pytest.fixture
def both(consumer_world: Ingest, metrics_world: Rollup, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    """A consumer of trips, with the metrics database of `metrics_world`."""
    content = tmp_path_factory.mktemp("content")
    (content / "schemas" / "events").mkdir(parents=True)
    (content / "consumers").mkdir()
    (content / "schemas" / "events" / "trip.json").write_text(json.dumps({**TRIP, "examples": [GOOD[0]]}))
    name = consumer_world.consumer.name
    (content / "consumers" / f"{name.replace('-', '_')}.py").write_text(
        "from fleetgauge.ingest import Consumer, DeadLetterLimit\n"
        f"consumer = Consumer(name={name!r}, topic={name!r}, contracts=('trip',), index={name!r},\n"
        "    dead_letters=DeadLetterLimit(consecutive=10**9, ratio=1.0))\n"
    )
    consumer_world.settings = consumer_world.settings.model_copy(
        update={
            "content": content,
            "metrics": metrics_world.settings.metrics,
            "sources": metrics_world.settings.sources,
            "rollup": metrics_world.settings.rollup,
        }
    )
    consumer_world.consumer = load_consumer(content, name)
    yield consumer_world
    consumer_world.bulk.request("DELETE", "/fleetgauge-erased", None)


def holds(text: str) -> list[str]:
    """Where a text holds the id, in any spelling: as it is, escaped, in another case; none of another's."""
    plain = re.sub(r"\\+u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), unquote(unquote(text))).lower()
    return [plain[max(0, at.start() - 60) : at.end() + 20] for at in re.finditer(rf"{RIDER}(?![a-z0-9])", plain)]


def everything(both: Ingest, metrics: Rollup, exports: Path) -> dict[str, list[str]]:
    """All places that hold the id, found without any index, query or contract."""
    found: dict[str, list[str]] = {}
    both.bulk.request("POST", "/_refresh", None)
    for row in json.loads(both.bulk.request("GET", "/_cat/indices?format=json&h=index", None).body):
        body = both.bulk.request("GET", f"/{row['index']}/_search?size=10000&version=true", None).body
        found[f"index {row['index']}"] = holds(body.decode())
    tables = metrics.metrics.execute(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relkind IN ('r', 'm', 'S') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
    ).fetchall()
    assert len(tables) > 20
    for (table,) in tables:
        with metrics.metrics.cursor().copy(f"COPY (SELECT * FROM {table}) TO STDOUT") as copy:
            found[table] = holds(b"".join(copy).decode())
    for path in sorted(one for one in exports.rglob("*") if one.is_file()):
        text = str(pq.read_table(path).to_pydict()) if path.suffix == ".parquet" else path.read_text()
        found[path.name] = holds(text)
    for record in earliest(both):
        text = f"{record.key!r} {record.value.decode('utf-8', 'replace')} {record.headers!r}"
        found[f"dead letter {record.offset}"] = holds(text)
    return {place: hits for place, hits in found.items() if hits}


def earliest(both: Ingest) -> list[Any]:
    from fleetgauge.ingest.deadletters.dead_letter_topic import opened

    with opened(both.settings.kafka, both.consumer.dead_letter_topic) as topic:
        return list(topic.records())


def rides(metrics: Rollup) -> Any:
    """Riders by minute, and a metric of which the rider is a dimension, as nobody should have it."""
    text = {"n": {"agg": "count"}, "paid": {"agg": "sum", "of": "amount", "type": "numeric"}}
    people = definition(
        "ride",
        measures={**text, "riders": {"agg": "distinct", "of": "kind"}},
        dimensions={"zone": {"column": "zone", "limit": 16}},
        rollups={"total": []},
    )
    named = definition("named", measures=text, dimensions={"who": {"column": "kind", "limit": 16}}, rollups={})
    metrics.migrate(people, named)
    for minute in range(6):
        at = DAY + timedelta(minutes=minute)
        for rider in (RIDER, OTHER, "somebody"):
            metrics.insert(at, zone="a", state="done", kind=rider, amount=100)
    metrics.beat()
    metrics.catch_up()
    for one in (people, named):
        assert metrics.run(one).error is None
    return people


def numbers(metrics: Rollup) -> list[Any]:
    query = "SELECT window_start, n, paid, riders FROM metrics.ride_total_hour ORDER BY 1"
    return metrics.metrics.execute(query).fetchall()


def test_nothing_holds_the_id_after_an_erasure(both: Ingest, metrics_world: Rollup, tmp_path: Path) -> None:
    settings = both.settings
    both.send([*GOOD, *BROKEN], headers=[("who", RIDER.encode())])
    consume(both.consumer, settings, TO_THE_END)
    assert len(both.stored()) == len(GOOD) and len(earliest(both)) == len(BROKEN)
    people = rides(metrics_world)
    metrics_world.metrics.execute(
        "INSERT INTO fleetgauge.left_out (metric, version, window_start, reason, count, keys) VALUES"
        " ('ride', %s, %s, 'too large', 1, %s)",
        [people.version, DAY, [f"rider_id={RIDER}", OTHER]],
    )
    exports = tmp_path / "exports"
    (exports / "trips").mkdir(parents=True)
    pq.write_table(pa.table({"who": [RIDER, None, OTHER], "n": [1, 2, 3]}), exports / "trips" / "part-0.parquet")
    (exports / "list.csv").write_text(f"who,n\n{RIDER},1\n{OTHER},2\n")
    before, held = numbers(metrics_world), everything(both, metrics_world, exports)
    assert before[0][1:] == (18, 1800, 3)
    assert {"part-0.parquet", "list.csv", "fleetgauge.left_out", "fleetgauge.dimension_value"} <= set(held)
    documents = {hit["_id"]: hit["_source"] for hit in both.stored()}

    order = ErasureOrder(RIDER, "data protection", exports=(str(exports),))
    dry = erase(settings, order, dry_run=True)
    named = {(one.store.rpartition("-")[0], one.what): one.count for one in dry.found if one.what == "documents"}
    assert sum(named.values()) == len(NAMING)
    assert everything(both, metrics_world, exports) == held
    with pytest.raises(Transient):
        erase(settings, order, bulk=FaultyBulk(both.bulk, 8), sleep=lambda _s: None)
    (open_receipt,) = written_receipts(settings)
    assert open_receipt.finished_at is None

    receipt = erase(settings, order, sleep=lambda _s: None)
    assert everything(both, metrics_world, exports) == {}
    assert receipt.id == open_receipt.id and receipt.finished_at is not None and RIDER not in repr(receipt)
    counts = {(one.store, one.what): one.count for one in receipt.found}
    assert sum(n for (_, what), n in counts.items() if what == "documents") == len(NAMING)
    assert counts[both.consumer.dead_letter_topic, "dead letters"] == len(BROKEN)  # all have the header
    assert counts[str(exports), "files"] == 2
    assert receipt.log_until[both.consumer.topic] is None  # the laboratory keeps records for ever
    now = datetime.now(UTC)
    until = log_until(settings.kafka, [both.consumer.dead_letter_topic], now)[both.consumer.dead_letter_topic]
    assert until is not None and timedelta(days=30) <= until - now <= timedelta(days=60)

    left = {hit["_id"]: hit["_source"] for hit in both.stored()}
    assert left.keys() == documents.keys() and len(left) == len(GOOD)
    for number, sent in enumerate(GOOD):
        stored = left[f"sc-{number % 5}:t{number}"]
        assert stored["fare"] == sent["fare"] and ("rider_id" not in stored) == (number in NAMING and number != 41)
    assert left["sc-1:t41"]["group"] == [OTHER] and left["sc-1:t41"]["rider_id"] == OTHER
    assert [(n, paid) for _, n, paid, _ in numbers(metrics_world)] == [(n, paid) for _, n, paid, _ in before]
    assert numbers(metrics_world)[0][3] == 2
    told = metrics_world.metrics.execute(
        "SELECT DISTINCT measure, reason, dimensions FROM metrics.restatement WHERE metric = 'ride'"
    ).fetchall()
    assert told == [("riders", "erasure of a person", None)]

    # Read again from Kafka, recomputed from a source that still has the rider, erased again: nothing comes back.
    for hit in {hit["_index"] for hit in both.stored()}:
        both.bulk.request("DELETE", f"/{hit}", None)
    consume(replace(both.consumer, name=f"{both.consumer.name}-again"), settings, TO_THE_END)
    assert {hit["_id"]: hit["_source"].keys() for hit in both.stored()} == {
        number: source.keys() for number, source in left.items()
    }
    metrics_world.run(people, interval=(DAY, DAY + timedelta(hours=1)))
    assert numbers(metrics_world)[0][1:] == (18, 1800, 2)
    assert everything(both, metrics_world, exports) == {}
    again = erase(settings, order, sleep=lambda _s: None)
    assert again.id != receipt.id and again.found == ()


def test_an_erasure_beside_a_consumer_and_runs_at_work(both: Ingest, metrics_world: Rollup, tmp_path: Path) -> None:
    """What comes, and is computed, while it is under way holds the id no more in the end; nobody else's counts move."""
    both.send(GOOD)
    consume(both.consumer, both.settings, TO_THE_END)
    metrics_world.empty()
    people = rides(metrics_world)
    sent = list(GOOD)
    with ThreadPoolExecutor(1) as pool:
        erasing = pool.submit(erase, both.settings, ErasureOrder(RIDER, "data protection"))
        rounds = 0
        while not erasing.done() or rounds < 3:
            more = [trip(1000 + 10 * rounds + n, RIDER if n % 2 else OTHER) for n in range(10)]
            both.send(more)
            sent += more
            with suppress(Transient):  # the list of the erased is being made; its supervisor starts it again
                consume(both.consumer, both.settings, TO_THE_END)
            for rider in (RIDER, OTHER):
                metrics_world.insert(
                    DAY + timedelta(minutes=rounds % 6), zone="a", state="done", kind=rider, amount=100
                )
            metrics_world.beat()
            metrics_world.catch_up()
            assert metrics_world.run(people).error is None
            rounds += 1
            assert rounds < 200
        receipt = erasing.result()
    consume(both.consumer, both.settings, TO_THE_END)
    assert receipt.finished_at is not None
    metrics_world.metrics.execute("DELETE FROM fleetgauge.dimension_value WHERE metric = 'named'")  # not run since
    left = everything(both, metrics_world, tmp_path)
    assert {place: hits for place, hits in left.items() if "named_" not in place} == {}
    assert sorted(hit["_source"]["fare"] for hit in both.stored()) == sorted(one["fare"] for one in sent)
    (hour,) = numbers(metrics_world)
    assert hour[1:] == (18 + 2 * rounds, 100 * (18 + 2 * rounds), 2)


def test_a_restored_copy_behind_the_alias_is_erased_too(both: Ingest, metrics_world: Rollup, tmp_path: Path) -> None:
    both.send([trip(0, RIDER), trip(1, OTHER)])
    consume(both.consumer, both.settings, TO_THE_END)
    stored = both.stored()
    copy = f"{stored[0]['_index']}-restored"
    try:
        for hit in stored:
            both.ask("PUT", f"/{copy}/_doc/{hit['_id']}?refresh=true", hit["_source"])
        assert f"index {copy}" in everything(both, metrics_world, tmp_path)
        receipt = erase(both.settings, ErasureOrder(RIDER, "data protection"), sleep=lambda _s: None)
        assert everything(both, metrics_world, tmp_path) == {}
        assert {one.store: one.count for one in receipt.found}[copy] == 1
    finally:
        both.bulk.request("DELETE", f"/{copy}", None)


def test_the_command_line_shows_no_id(both: Ingest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "fleetgauge.toml"
    file.write_text(_toml(both.settings))
    monkeypatch.setenv("FLEETGAUGE_CONFIG", str(file))
    monkeypatch.setenv("FLEETGAUGE_ROLLUP__DISTINCT_KEY", SECRET.get_secret_value())
    both.send([trip(n, RIDER) for n in range(3)])
    consume(both.consumer, both.settings, TO_THE_END)
    runner = CliRunner()
    done = runner.invoke(
        cli.app, ["erase", "-", "--asked-by", "dpo", "--json"], input=f"{RIDER}\n", catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["asked_by"] == "dpo" and sum(one["count"] for one in told["found"]) == 3
    listed = runner.invoke(cli.app, ["erase", "--list"], catch_exceptions=False)
    assert told["digest"][:16] in listed.stdout and RIDER not in done.output + listed.output


def _toml(settings: Settings) -> str:
    return (
        f'content = "{settings.content}"\n[kafka]\nbootstrap_servers = "{settings.kafka.bootstrap_servers}"\n'
        f'[elasticsearch]\nurl = "{settings.elasticsearch.url}"\n'
        f'[metrics]\nurl = "{settings.metrics.url.get_secret_value()}"\n'
    )
