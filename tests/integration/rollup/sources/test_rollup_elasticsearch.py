"""Metrics over documents, on real servers: whatever ingest stores, the tables equal what was sent."""

import time
from collections import defaultdict
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import document_world
import pytest
from document_world import LEDGER, PARTITIONS, World, event, mixed
from elasticsearch import Elasticsearch
from kafka.admin import NewTopic
from rollup_world import QUICK, Off
from structlog.testing import capture_logs

from fleetgauge import pipeline
from fleetgauge.document_sources import event_streams
from fleetgauge.errors import Transient
from fleetgauge.following import Follower
from fleetgauge.progress.round_progress import RoundProgress
from fleetgauge.rollup import RunReport, run_metrics
from fleetgauge.rollup.definitions.measures import Percentile
from fleetgauge.rollup.execute.engine import Engine
from fleetgauge.rollup.execute.options import RunOptions, connect_metrics
from fleetgauge.rollup.operating import doctor
from fleetgauge.rollup.operating.findings import Finding
from fleetgauge.rollup.sources import elasticsearch_facts
from fleetgauge.rollup.sources.opened import open_source
from fleetgauge.settings import ElasticsearchSettings, KafkaSettings

world, database, start = document_world.world, document_world.database, document_world.start


def test_a_worker_whose_clock_is_fast_closes_nothing_early(world: World, start: datetime) -> None:
    """For documents the watermark of a topic that is read to its end is the worker's own time."""
    world.send(event(start, 1), event(start, 2))
    world.ingest()
    assert world.run().error is None
    world.send(event(start, 3))
    world.ingest()
    before = world.metrics.execute(LEDGER, [world.name]).fetchall()
    definitions = [world.definition]
    streams = event_streams(world.settings.content, definitions)
    fast = RunOptions(pause_s=0.0, clock=Off(timedelta(minutes=10)))
    (report,) = run_metrics(world.settings, definitions, "minute", options=fast, streams=streams)
    assert report.severity == "transient"
    assert "ahead of the other clocks" in (report.error or "")
    assert world.metrics.execute(LEDGER, [world.name]).fetchall() == before
    world.send(event(start, 4), appended=datetime.now(UTC) + timedelta(hours=1))  # a producer's clock, not yet read
    assert world.run().error is None
    for done, closed in world.metrics.execute(LEDGER, [world.name]):
        assert all(r.upper <= datetime.now(UTC) for r in [*done, *closed])
    world.ingest()
    assert world.run().error is None
    world.assert_right()


def test_numbers_equal_what_was_sent_and_late_documents_cost_their_own_cells(world: World, start: datetime) -> None:
    report = world.run()
    assert (report.rows, world.stored("minute")) == (0, {})  # neither documents nor an index yet

    world.send(*mixed(start, 90, 700))
    assert world.ingest()["ok"] == 700
    report = world.run()
    world.assert_right()
    assert report.watermark is not None and report.watermark > datetime.now(UTC) - timedelta(minutes=1)
    assert not world.stored("minute", "WHERE provisional")

    late = [event(start - timedelta(days=2), 3), event(start + timedelta(minutes=40), 5, model="m2")]
    world.send(*late, world.sent[0])  # the last one is a duplicate
    world.sent.pop()
    assert world.ingest()["duplicate"] == 1
    report = world.run()
    assert (report.cells, report.restated) == (2, 2)
    world.assert_right()

    assert world.run().cells == 0
    whole = world.run((start, start + timedelta(hours=2)))
    assert whole.windows >= 120
    world.assert_right()


def test_what_is_not_committed_keeps_its_window_open(world: World, start: datetime) -> None:
    world.send(*mixed(start, 30, 60))
    world.ingest()
    behind = start + timedelta(minutes=20, seconds=30)
    world.send(event(start + timedelta(minutes=25), 1), appended=behind)
    pending = world.sent.pop()
    report = world.run()
    assert report.watermark == behind
    world.assert_right()
    final = {key[0] for key in world.stored("minute", "WHERE NOT provisional")}
    assert max(final) == start + timedelta(minutes=19)  # 20 ends after the watermark less the grace

    assert world.ingest()["ok"] == 1
    world.sent.append(pending)
    world.run()
    world.assert_right()
    assert not world.stored("minute", "WHERE provisional")


def test_documents_that_another_group_stored_below_the_cursor_are_found(world: World, start: datetime) -> None:
    world.send(*mixed(start, 10, 50))
    world.ingest()
    world.delete_indices()
    world.run()
    assert world.stored("minute") == {}  # the cursor is at the end, and there are no documents

    world.declare(f"{world.name}again")
    assert world.ingest(f"{world.name}again")["ok"] == 50
    world.run()
    world.assert_right()

    world.send(event(start, 1))  # from now on both groups meet each event; whoever is first stores it
    world.ingest(f"{world.name}again")
    world.run()
    world.assert_right()


def test_a_topic_made_anew_is_read_from_its_start(world: World, start: datetime) -> None:
    world.send(*mixed(start, 10, 50))
    world.ingest()
    world.run()
    world.admin.delete_topics([world.name])
    _wait_until_gone(world)
    world.admin.create_topics([NewTopic(world.name, PARTITIONS, 1)])
    world.send(*mixed(start + timedelta(minutes=3), 2, 10))
    assert world.ingest()["ok"] == 10
    world.run()
    world.assert_right()
    assert world.run().cells == 0


def test_pages_slices_and_scattered_minutes_make_no_difference(
    world: World, start: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elasticsearch_facts.query, "PAGE", 7)
    monkeypatch.setattr(elasticsearch_facts, "SPANS", 3)
    world.send(*mixed(start, 12, 120))
    world.ingest()
    world.run()
    world.assert_right()
    world.send(*mixed(start - timedelta(minutes=100), 98, 40))
    world.ingest()
    assert world.run().cells > 20
    world.assert_right()


def test_the_plan_counts_the_documents_that_it_would_read(world: World, start: datetime) -> None:
    (plan,) = pipeline.plan(world.settings, [world.name]).metrics
    assert (plan.minutes, plan.facts, plan.error) == (0, 0, None)  # no index yet
    world.send(*mixed(start, 30, 200))
    world.ingest()
    (plan,) = pipeline.plan(world.settings, [world.name]).metrics
    assert plan.since == min(world.expected("minute"))[0]
    assert plan.facts == sum(row[0] for row in world.expected("minute").values()) > 100
    world.run()
    (plan,) = pipeline.plan(world.settings, [world.name]).metrics
    assert plan.minutes < 3
    assert plan.facts == 0


def test_an_older_answer_of_a_round_is_never_taken_for_a_rewind(world: World, start: datetime) -> None:
    world.send(*mixed(start, 100, 300))
    world.ingest()
    world.run()
    definition, kept = world.definition, RoundProgress(lambda: 0.0)  # however slow the machine is
    source = open_source(world.settings, world.name, event_streams(world.settings.content, [definition]), kept=kept)
    with source.look(definition):
        pass  # for another metric of the round
    world.send(*mixed(start, 100, 40))
    world.ingest()
    world.run()  # by another worker, which comes further
    world.send(event(start, 3))
    world.ingest()
    with closing(source):

        def run() -> RunReport:
            return Engine(definition, source, lambda: connect_metrics(world.settings.metrics, QUICK), QUICK).run(
                "minute"
            )

        report = run()
        assert report.deferred and not report.cells and not report.windows, "what it asked is older than what is known"
        kept.forget()
        report = run()
    assert report.error is None and report.deferred is None
    assert report.cells == 1 and report.windows < 5, "what is new, not everything anew"
    world.assert_right()


def test_a_loop_beside_another_worker_asks_anew_and_does_not_wait(
    world: World, start: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.send(*mixed(start, 30, 60))
    world.ingest()
    loop = Follower(world.settings, world.name)
    loop.progress = RoundProgress(lambda: 0.0)  # its answer stays young, however slow the machine is
    try:
        loop.one_round()
        world.send(event(start, 1))
        world.ingest()
        world.run()
        world.send(event(start, 3))
        world.ingest()
        forgotten: list[bool] = []
        kept = loop.progress
        real = kept.forget
        monkeypatch.setattr(kept, "forget", lambda: real() if forgotten else forgotten.append(True))
        loop.one_round()  # with what the round before has asked
    finally:
        loop.close()
    world.assert_right()


def test_totals_add_up_between_any_edges(world: World, start: datetime) -> None:
    world.send(*mixed(start, 170, 300))
    world.ingest()
    edges = [start + timedelta(minutes=m) for m in (10, 40, 100, 130)]
    expected: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for (window, *dimensions), (events, fast, size, full, *_) in world.expected("minute").items():
        stretch = sum(edge <= window for edge in edges) - 1
        if 0 <= stretch < 3:
            sums = expected[stretch, *dimensions]
            for i, value in enumerate((events, fast, size, full)):
                sums[i] += value
    streams = event_streams(world.settings.content, [world.definition])
    source = open_source(world.settings, world.name, streams)
    with closing(source), source.look(world.definition) as facts:
        rows = facts.totals(edges)
        hours = facts.totals([start, start + timedelta(minutes=170)])
        found = {row[:5]: list(row[5:9]) for row in rows}
        assert facts.first_event() == datetime.fromtimestamp(world.sent[0]["timestamp"] / 1000, UTC)
    assert found == expected
    assert len(hours) == len({row[1:5] for row in hours})  # sketches too are one of all windows between two edges
    percentile = next(i for i, c in enumerate(world.definition.columns) if isinstance(c.measure, Percentile))
    sketches = [row[5 + percentile] for row in hours]
    assert sum(sum(sketch[len(sketch) // 2 :]) for sketch in sketches) > 0


def test_hostile_values_are_only_values(world: World, start: datetime) -> None:
    texts = ["'); DROP TABLE x; --", '"}]}, "', "ß\u2028𝄞", "x" * 400, "unknown", "%s {0}", "\\"]
    models = [*texts, "(not set)", "(other)"]
    world.send(*(event(start + timedelta(seconds=i), i, model=model) for i, model in enumerate(models)))
    world.ingest()
    world.run()
    world.assert_right()
    # Touched one by one, as cells; then one value more than there is room for, and one that Postgres cannot hold.
    world.send(*(event(start + timedelta(seconds=i), i, model=model) for i, model in enumerate(models)))
    world.ingest()
    assert world.run().cells == len(models)
    world.assert_right()
    world.send(event(start, 1, model="a\0b"), event(start, 1, model="a\ufffdb"), event(start, 1, model="eleventh"))
    world.ingest()
    world.run()
    kept = {key[2]: values[0] for key, values in world.stored("minute").items()}
    assert kept == {**dict.fromkeys(texts, 2), "\\(not set)": 2, "\\(other)": 2, r"a\u0000b": 1, "(other)": 2}


def test_a_row_of_a_text_that_an_older_release_wrote_otherwise_leaves_no_shadow(world: World, start: datetime) -> None:
    world.send(event(start, 1, model="a\0b"), event(start, 1, model="m1"))
    world.ingest()
    world.run()
    for level in world.definition.levels:
        table = f"store.{world.definition.table(level)}"
        world.metrics.execute(rf"UPDATE {table} SET model = 'a' || U&'\FFFD' || 'b' WHERE model = 'a\u0000b'")
    world.metrics.execute("DELETE FROM fleetgauge.dimension_value WHERE value LIKE 'a%'")
    world.send(event(start, 1, model="a\0b"))
    world.ingest()
    assert world.run().error is None
    for grain in ("minute", "hour", "day"):
        rows = world.metrics.execute(
            f"SELECT model, sum(events) FROM metrics.{world.name}_{grain} GROUP BY 1"
        ).fetchall()
        assert dict(rows) == {"m1": 1, r"a\u0000b": 2}, grain


def test_sums_beyond_what_a_double_holds_are_exact(world: World, start: datetime) -> None:
    _take_large_numbers(world)
    large = [10**15 - 2 * i - 1 for i in range(13)]
    world.send(*(event(start, i, message={"bytes": n, "direction": "uplink"}) for i, n in enumerate(large)))
    world.send(event(start + timedelta(minutes=1), 1, message={"bytes": large[0], "direction": "uplink"}))
    world.ingest()
    assert world.run().error is None
    assert sum(large) > 2**53 and float(sum(large)) != sum(large)
    world.assert_right()
    world.send(event(start, 3, message={"bytes": 7, "direction": "uplink"}))  # touched alone, as a cell
    world.ingest()
    assert world.run().cells == 1
    world.assert_right()
    span = (start.replace(minute=0), start.replace(minute=0) + timedelta(hours=1))
    (compared,) = pipeline.reconcile(world.settings, span, [world.name], dry_run=True)
    assert (compared.error, compared.different) == (None, 0)


def test_documents_that_cannot_be_counted_are_left_out_and_named(world: World, start: datetime) -> None:
    _take_large_numbers(world)
    world.send(*mixed(start, 5, 30))
    whole = list(world.sent)
    absurd = [10**15 + 1, 9 * 10**18]
    world.send(*(event(start, i, message={"bytes": n, "direction": "uplink"}) for i, n in enumerate(absurd)))
    world.send(event(start, 1, model="m" * 1_025))  # too long for the index: no search finds it as what it is
    world.sent[:] = whole
    world.ingest()
    with Elasticsearch(world.settings.elasticsearch.url) as client:
        client.indices.refresh(index=f"{world.name.replace('_', '-')}-*")
        stored = client.search(index=f"{world.name.replace('_', '-')}-*", size=1)["hits"]["hits"][0]
        for name, year in (("early", 1990), ("late", 2150)):
            body = {**stored["_source"], "@timestamp": document_world.ms(datetime(year, 1, 1, tzinfo=UTC))}
            client.index(index=stored["_index"], id=name, document=body, refresh=True)
    report = world.run()
    assert report.error is None
    said = " ".join(report.warnings)
    assert "2 row(s) left out, message.bytes is not finite or too large: " in said
    assert "2 row(s) left out, @timestamp is no time of a fleet: early, late" in said
    world.assert_right()
    rows = world.metrics.execute(
        "SELECT reason, count, keys FROM fleetgauge.left_out WHERE metric = %s ORDER BY 1", [world.name]
    ).fetchall()
    assert [(reason, count) for reason, count, _ in rows] == [
        ("@timestamp is no time of a fleet", 2),
        ("device.model is not finite or too large", 1),
        ("message.bytes is not finite or too large", 2),
    ]
    assert all(":" in key for key in rows[2][2])  # ids of documents: device and event
    assert (world.run().cells, world.run().error) == (0, None)


def _take_large_numbers(world: World) -> None:
    common = world.settings.content / "schemas" / "events" / "common.json"
    common.write_text(common.read_text().replace('"maximum": 1048576', '"maximum": 9000000000000000000'))


def test_a_closed_day_stops_no_other_and_is_computed_anew_once_it_is_open(world: World, start: datetime) -> None:
    day = start.replace(hour=3, minute=0) - timedelta(days=2)
    index = f"{world.name.replace('_', '-')}-{day:%Y.%m.%d}"
    world.send(*mixed(day, 5, 40))
    world.ingest()
    world.run()
    before = world.stored("minute")
    world.send(*mixed(day, 5, 10))  # stored, but not computed when the day is closed
    world.ingest()
    with Elasticsearch(world.settings.elasticsearch.url) as client:
        client.indices.close(index=index)
        world.send(*mixed(start, 5, 30))
        world.ingest()
        with capture_logs() as logs:
            report = world.run()
        assert report.error is None
        assert [line["closed"] for line in logs if "daily indices are closed" in line["event"]][:1] == [[index]]
        assert world.stored("minute", f"WHERE window_start < '{day + timedelta(days=1)}'") == before
        assert len(world.stored("minute")) > len(before)
        told = _examined(world)[f"documents of {world.name}"]
        assert (told.status, index in told.said, f"POST /{index}/_open" in told.remedy) == ("fail", True, True)
        with pytest.raises(Transient, match=f"{index} is closed, .*open it"):  # never from nothing
            world.run((day, day + timedelta(hours=1)))
        assert world.stored("minute", f"WHERE window_start < '{day + timedelta(days=1)}'") == before
        client.indices.open(index=index, wait_for_active_shards="1")
    world.run()
    world.assert_right()
    world.run()
    world.assert_right()


def test_doctor_says_what_is_missing(world: World, start: datetime) -> None:
    group, documents = f"consumer group of {world.name}", f"documents of {world.name}"
    assert (_examined(world)[group].status, _examined(world)[documents].status) == ("warn", "ok")
    world.send(*mixed(start, 5, 4))
    world.ingest()
    assert (_examined(world)[group].status, _examined(world)[documents].status) == ("ok", "ok")
    world.send(event(start), appended=start)
    assert (_examined(world)[group].status, "1 records behind" in _examined(world)[group].said) == ("warn", True)
    nowhere = {
        "elasticsearch": ElasticsearchSettings(url="http://127.0.0.1:9"),
        "kafka": KafkaSettings(bootstrap_servers="127.0.0.1:9"),
    }
    found = _examined(world, **nowhere)
    assert (found[group].status, found[documents].status) == ("fail", "fail")
    assert "127.0.0.1:9" in found[group].said
    assert found[documents].remedy == "check that Elasticsearch runs there, then try again"


def _examined(world: World, **elsewhere: Any) -> dict[str, Finding]:
    streams = event_streams(world.settings.content, [world.definition])
    settings = world.settings.model_copy(update=elsewhere)
    found: dict[str, Finding] = {}
    for one in doctor.examine(settings, {world.name: world.definition}, streams):
        found.setdefault(one.about, one)  # the first; that this topic takes its producers' times comes after it
    return found


def _wait_until_gone(world: World) -> None:
    deadline = time.monotonic() + 30
    while world.name in world.admin.list_topics():
        assert time.monotonic() < deadline, "the topic is still there"
        time.sleep(0.1)
