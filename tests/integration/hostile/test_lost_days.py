"""Daily indices that are deleted, red or of an older mapping: told by name, and no number becomes less by them."""

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import document_world as documents
import pytest
from elasticsearch import Elasticsearch
from fault_table import fault
from prometheus_client import CollectorRegistry, generate_latest

from fleetgauge import diagnosis, pipeline
from fleetgauge.errors import Terminal, Transient
from fleetgauge.ingest.consumer import load_consumer
from fleetgauge.ingest.operate.launch import consume
from fleetgauge.ingest.operate.service import ConsumeOptions
from fleetgauge.ingest.read.rewind import Rewind
from fleetgauge.progress.pace import Pace
from fleetgauge.rollup.operating.exports import RollupCollector
from fleetgauge.rollup.operating.freshness import freshness

world, database, start = documents.world, documents.database, documents.start

DAY = timedelta(days=1)


@pytest.fixture
def client(elasticsearch: Any) -> Iterator[Elasticsearch]:
    with closing(Elasticsearch(elasticsearch.url)) as found:
        yield found


def index_of(world: Any, day: datetime) -> str:
    return f"{world.name.replace('_', '-')}-{day:%Y.%m.%d}"


def told(world: Any, condition: str) -> tuple[str | None, list[str], float]:
    """What freshness says of a condition of the world's metric, doctor's lines that are not ok, the exporter's."""
    definitions = {world.name: world.definition}
    standings = freshness(world.settings, definitions.values())
    said = {one.said for standing in standings for one in standing.conditions if one.condition.name == condition}
    registry = CollectorRegistry()
    registry.register(RollupCollector(world.settings, definitions))
    sample = f'fleetgauge_rollup_condition{{condition="{condition}",metric="{world.name}"}} '
    (line,) = (found for found in generate_latest(registry).decode().splitlines() if found.startswith(sample))
    lines = [one.said for one in diagnosis.examine(world.settings) if one.status != "ok"]
    return next(iter(said), None), lines, float(line.removeprefix(sample))


@fault(
    "Somebody deletes a daily index of the telemetry in the middle of what is kept; late events make it anew, partly",
    number="of that day as before; late events of it are counted as late; right once its day is loaded again",
    freshness="warn: the metric, the index, and how to get it back",
    doctor="warn: the same",
    exporter='`fleetgauge_rollup_condition{condition="lost_documents"}` 1',
    exit_code="0 of run and reconcile",
)
def test_a_deleted_day_keeps_its_numbers_and_is_told(world: Any, start: datetime, client: Elasticsearch) -> None:
    day = start.replace(hour=3, minute=0) - 2 * DAY
    world.send(*documents.mixed(day - DAY, 5, 20), *documents.mixed(day, 5, 40), *documents.mixed(start, 5, 20))
    world.ingest()
    world.run()
    world.assert_right()
    assert told(world, "lost_documents")[0::2] == (None, 0)
    before = {grain: world.stored(grain) for grain in ("minute", "hour", "day")}

    client.indices.delete(index=index_of(world, day))
    (report,) = pipeline.reconcile(world.settings, (day - 2 * DAY, start + DAY), [world.name])
    assert (report.error, report.different) == (None, 0)  # before a run could note it, too
    assert report.not_compared["its source has lost facts of it"] == 24
    assert world.run().error is None
    late = documents.mixed(day, 5, 3)
    world.send(*late)
    world.ingest()
    client.indices.refresh(index=index_of(world, day))
    assert client.count(index=index_of(world, day))["count"] == 3  # made anew, with a part of its documents
    report = world.run()
    assert (report.error, report.late_unapplied > 0) == (None, True)
    pipeline.reconcile(world.settings, (day - 2 * DAY, start + DAY), [world.name])
    assert {grain: world.stored(grain) for grain in before} == before
    said, lines, sample = told(world, "lost_documents")
    assert said is not None and index_of(world, day) in said and sample == 1
    assert any(index_of(world, day) in line and world.name in line for line in lines)

    again = ConsumeOptions(until_caught_up=True, rewind=Rewind(start - 10 * DAY))
    consume(load_consumer(world.settings.content, world.name), world.settings, again)
    world.run()
    world.assert_right()
    said, lines, sample = told(world, "lost_documents")
    assert (said, sample) == (None, 0) and not [line for line in lines if index_of(world, day) in line]


@fault(
    "Somebody deletes today's index of the telemetry",
    number="as before up to then; what comes after is counted",
    freshness="warn: the metric and the index",
    doctor="warn: the same",
    exporter='`fleetgauge_rollup_condition{condition="lost_documents"}` 1',
    exit_code="0 of run",
)
def test_the_rest_of_a_day_that_lost_its_index_is_counted(world: Any, start: datetime, client: Elasticsearch) -> None:
    soon = start + timedelta(hours=3, minutes=-1)
    if soon.date() != (soon - timedelta(minutes=20)).date():
        pytest.skip("a day has just begun")
    world.send(*documents.mixed(soon - timedelta(minutes=10), 5, 30))
    world.ingest()
    world.run()
    before = world.stored("minute")
    index = index_of(world, soon)
    client.indices.delete(index=index)
    world.run()
    # More than before, most of it beyond what was computed, and later than the day is known to have lost documents.
    world.send(*documents.mixed(soon - timedelta(minutes=10), 5, 5), *documents.mixed(soon, 1, 100))
    world.ingest()
    world.run()
    said, _, sample = told(world, "lost_documents")
    assert said is not None and index in said and sample == 1
    kept = {cell: row for cell, row in world.stored("minute").items() if cell in before}
    assert kept == before


@fault(
    "A daily index of the telemetry is red: its only copy is on a node that is away",
    number="as before; the run waits",
    freshness="error: its last run failed, with the index's name",
    doctor="fail: the index's name",
    exporter='`fleetgauge_rollup_condition{condition="failing"}` 1',
    exit_code="75 of run",
)
def test_a_red_index_is_named_at_once(
    world: Any, start: datetime, client: Elasticsearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.send(*documents.mixed(start, 5, 20))
    world.ingest()
    world.run()
    red = index_of(world, start - 2 * DAY)
    alias = world.name.replace("_", "-")
    client.indices.create(
        index=red,
        aliases={alias: {}},
        settings={"number_of_replicas": 0, "routing.allocation.require._name": "nowhere"},
        wait_for_active_shards="0",
    )
    began = time.monotonic()
    lines = [one for one in diagnosis.examine(world.settings) if one.about == f"documents of {world.name}"]
    assert time.monotonic() - began < 20
    assert [(one.status, f"{red} is red" in one.said) for one in lines] == [("fail", True)]
    monkeypatch.setattr(Pace, "failed", _give_up)  # patience is not what is tried here
    with pytest.raises(Transient, match=f"{red} is red"):
        world.run()


def _give_up(_: Pace, error: Exception) -> None:
    raise error


@fault(
    "A daily index was made by an older template, and does not map a field that the metric reads",
    number="without the values of that field in that day; right once it is indexed and computed anew",
    freshness="warn: the metric, the index and the field",
    doctor="warn: the same, also before any run",
    exporter='`fleetgauge_rollup_condition{condition="unmapped_field"}` 1',
    exit_code="0 of run",
)
def test_a_field_that_a_day_does_not_map_is_named(world: Any, start: datetime, client: Elasticsearch) -> None:
    world.send(*documents.mixed(start, 5, 40))
    world.ingest()
    day = start - 2 * DAY
    index, alias = index_of(world, day), world.name.replace("_", "-")
    mapping = client.indices.get_mapping(index=index_of(world, start))[index_of(world, start)]["mappings"]
    del mapping["properties"]["speed"], mapping["properties"]["device"]["properties"]["model"]
    client.indices.delete_index_template(name=f"fleetgauge-{world.name}")
    client.indices.create(index=index, aliases={alias: {}}, mappings=mapping, settings={"number_of_replicas": 0})
    about = f"documents of {world.name}"
    lines = [one for one in diagnosis.examine(world.settings) if one.about == about and one.status == "warn"]
    assert [f"{index} does not map device.model, speed" in one.said for one in lines] == [True]
    assert world.run().error is None
    said, lines, sample = told(world, "unmapped_field")
    assert said is not None and f"{index} does not map device.model, speed" in said and sample == 1
    assert sum(index in line for line in lines) == 2
    client.indices.delete(index=index)
    world.run()
    world.assert_right()
    assert told(world, "unmapped_field")[0::2] == (None, 0)


@fault(
    "The definition changes after a daily index was deleted",
    number="of that day as the older version computed it, marked with its version; of all others by the new one",
    freshness="warn: the metric and the index, as before",
    doctor="warn: the same",
    exporter='`fleetgauge_rollup_condition{condition="lost_documents"}` 1',
    exit_code="0 of run",
)
def test_a_new_version_knows_what_was_lost_before_it(world: Any, start: datetime, client: Elasticsearch) -> None:
    day = start.replace(hour=3, minute=0) - 2 * DAY
    world.send(*documents.mixed(day - DAY, 5, 20), *documents.mixed(day, 5, 40), *documents.mixed(start, 5, 20))
    world.ingest()
    world.run()

    def shown() -> list[tuple[Any, ...]]:
        return [
            world.metrics.execute(
                f"SELECT window_start, sum(events) FROM metrics.{world.name}_{grain} GROUP BY 1 ORDER BY 1"
            ).fetchall()
            for grain in ("minute", "hour", "day")
        ]

    before = shown()
    client.indices.delete(index=index_of(world, day))
    if client.indices.exists(index=index_of(world, start)):  # one version notes the loss, or it happens before it could
        world.run()
    world.define(measures={**documents.METRIC["measures"], "slow": {"agg": "count", "where": {"speed": {"lt": 1}}}})
    assert world.run().error is None
    assert shown() == before
    lost = [
        world.metrics.execute(
            f"SELECT bool_and(slow IS NULL) FROM metrics.{world.name}_{grain}"
            " WHERE window_start >= %s AND window_start < %s",
            [day, day + timedelta(hours=1)],
        ).fetchone()[0]
        for grain in ("minute", "hour")
    ]
    assert lost == [True, True]  # the older version's rows, which have no such measure
    said, _, sample = told(world, "lost_documents")
    assert said is not None and index_of(world, day) in said and sample == 1
    late = documents.mixed(day, 5, 3)
    world.send(*late)
    world.ingest()
    report = world.run()
    assert (report.error, report.late_unapplied > 0) == (None, True)
    assert shown() == before


def remade(client: Elasticsearch, index: str, alias: str, kind: dict[str, Any]) -> None:
    """The same documents in an index of the same name, with this mapping of the field `kind`."""
    mapping = client.indices.get_mapping(index=index)[index]["mappings"]
    mapping["properties"]["kind"] = kind
    client.indices.refresh(index=index)
    held = client.search(index=index, size=1000, version=False)["hits"]["hits"]
    assert held
    client.indices.delete(index=index)
    client.indices.create(index=index, mappings=mapping, aliases={alias: {}}, settings={"number_of_replicas": 0})
    for one in held:
        client.index(index=index, id=one["_id"], document=one["_source"])
    client.indices.refresh(index=index)


@fault(
    "Somebody makes a daily index by hand, in which a field has another type, such as `text`",
    number="of that day as before; of every other day right, and of that day too once the index is made anew",
    freshness="error: the metric, the index and the fields, and how to make it anew",
    doctor="fail: the same",
    exporter='`fleetgauge_rollup_condition{condition="mistyped_index"}` 1',
    exit_code="run 0, freshness 78; 78 of consume, with the index and the fields",
)
def test_a_field_of_another_type_is_named_with_its_index(world: Any, start: datetime, client: Elasticsearch) -> None:
    day, index, alias = start - 2 * DAY, index_of(world, start - 2 * DAY), world.name.replace("_", "-")
    world.send(*documents.mixed(day, 5, 40), *documents.mixed(start, 5, 20))
    world.ingest()
    assert world.run().error is None
    world.assert_right()
    before = world.stored("minute")
    world.send(*documents.mixed(day, 5, 10), *documents.mixed(start - DAY, 5, 10), *documents.mixed(start, 5, 20))
    world.ingest()
    kind = client.indices.get_mapping(index=index)[index]["mappings"]["properties"]["kind"]
    remade(client, index, alias, {"type": "text"})
    for _ in range(2):
        assert world.run().error is None
    assert of_day(world.stored("minute"), day) == of_day(before, day)
    assert others(world.stored("minute"), day) == others(world.expected("minute"), day)
    said, lines, sample = told(world, "mistyped_index")
    assert said is not None and f"{index} maps kind to another type" in said and sample == 1
    assert told(world, "closed_index")[0] is None
    assert any(index in line and "kind" in line for line in lines)
    assert pipeline.preview(world.settings, metrics=[world.name])[0].error is None
    with pytest.raises(Terminal, match=f"{index} holds kind with another type"):
        world.ingest()
    remade(client, index, alias, kind)
    assert world.run().error is None
    world.assert_right()
    assert told(world, "mistyped_index")[0] is None


Rows = dict[tuple[Any, ...], tuple[Any, ...]]


def of_day(rows: Rows, day: datetime) -> Rows:
    """Those of minutes of the UTC day."""
    return {key: row for key, row in rows.items() if key[0].date() == day.date()}


def others(rows: Rows, day: datetime) -> Rows:
    """All others."""
    return {key: row for key, row in rows.items() if key[0].date() != day.date()}


def test_the_days_after_one_that_cannot_be_read_are_computed(
    world: Any, start: datetime, client: Elasticsearch
) -> None:
    """Of a day that was never computed: its windows are missing, and stop none of those that come after it."""
    day = start - 2 * DAY
    world.send(*documents.mixed(start - 3 * DAY, 5, 10))
    world.ingest()
    assert world.run().error is None
    world.send(*documents.mixed(day, 5, 10), *documents.mixed(start - DAY, 5, 10))
    world.ingest()
    begin, zone = day.replace(hour=0, minute=0, second=0, microsecond=0), world.definition.time_zone
    world.metrics.execute(  # as if no run had come to them
        "UPDATE fleetgauge.ledger SET done = done * tstzmultirange(tstzrange(NULL, fleetgauge.window_start(%s, grain,"
        " %s))), closed = closed * tstzmultirange(tstzrange(NULL, fleetgauge.window_start(%s, grain, %s)))"
        " WHERE metric = %s",
        [begin, zone, begin, zone, world.name],
    )
    index = index_of(world, day)
    client.indices.close(index=index)
    assert world.run().error is None
    assert of_day(world.stored("minute"), day) == {}
    assert others(world.stored("minute"), day) == others(world.expected("minute"), day)
    assert told(world, "closed_index")[0] is not None
    client.indices.open(index=index, wait_for_active_shards="1")
    assert world.run().error is None
    world.assert_right()
