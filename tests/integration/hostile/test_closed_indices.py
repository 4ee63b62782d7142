"""Daily indices that cannot be read: their days wait and are named, everything else goes on."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import document_world as documents
import pytest
from command_weather import SOURCE, Weather
from command_world import Document, document, instant
from elasticsearch import Elasticsearch
from fault_table import fault
from prometheus_client import CollectorRegistry, generate_latest

from fleetgauge import diagnosis
from fleetgauge.commands.materialise import MaterialiseReport
from fleetgauge.commands.pages import ElasticsearchDocuments
from fleetgauge.rollup import raise_failures, run_metrics
from fleetgauge.rollup.operating import doctor
from fleetgauge.rollup.operating.exports import RollupCollector
from fleetgauge.rollup.operating.freshness import freshness
from fleetgauge.settings import ElasticsearchSettings, Settings

world, database, start = documents.world, documents.database, documents.start


def told(world: Any) -> tuple[set[str], dict[str, str], list[Any], float]:
    """Of the world's metric: verdicts and conditions of freshness, doctor's lines, the exporter's sample."""
    definitions = {world.name: world.definition}
    standings = freshness(world.settings, definitions.values())
    said = {one.condition.name: one.said for standing in standings for one in standing.conditions}
    registry = CollectorRegistry()
    registry.register(RollupCollector(world.settings, definitions))
    sample = f'fleetgauge_rollup_condition{{condition="closed_index",metric="{world.name}"}} '
    (line,) = (found for found in generate_latest(registry).decode().splitlines() if found.startswith(sample))
    lines = [one for one in diagnosis.examine(world.settings) if one.about == "numbers"]
    return {one.verdict for one in standings}, said, lines, float(line.removeprefix(sample))


@fault(
    "Somebody closes a daily index of the telemetry, of a day that is final",
    number="of that day as before; of every other day right; all right once it is open again",
    freshness="error: the metric, the index, and how to open it",
    doctor="fail: the same",
    exporter='`fleetgauge_rollup_condition{condition="closed_index"}` 1',
    exit_code="run 0, freshness 75",
)
def test_a_closed_day_of_telemetry_is_told_everywhere(world: Any, start: datetime) -> None:
    day = start.replace(hour=3, minute=0) - timedelta(days=2)
    index = f"{world.name.replace('_', '-')}-{day:%Y.%m.%d}"
    world.send(*documents.mixed(day, 5, 40))
    world.ingest()
    world.run()
    before = world.stored("minute")
    world.send(*documents.mixed(day, 5, 10))
    world.ingest()
    with Elasticsearch(world.settings.elasticsearch.url) as client:
        client.indices.close(index=index)
        world.send(*documents.mixed(start, 5, 30))
        world.ingest()
        assert world.run().error is None
        assert world.stored("minute", f"WHERE window_start < '{day + timedelta(days=1)}'") == before
        verdicts, said, lines, sample = told(world)
        assert verdicts == {"error"} and sample == 1
        assert index in said["closed_index"] and f"POST /{index}/_open" in said["closed_index"]
        assert [one.status for one in lines] == ["fail"]
        assert f"metric {world.name}: {index} is closed" in lines[0].said
        client.indices.open(index=index, wait_for_active_shards="1")
    assert world.run().error is None
    world.assert_right()
    verdicts, said, lines, sample = told(world)
    assert (said, [one.status for one in lines], sample) == ({}, ["ok"], 0)


class Stored:
    """Command events in daily indices of a real Elasticsearch, as ingest stores them; topic and group are made up."""

    def __init__(self, weather: Weather, settings: Settings) -> None:
        self.weather = weather
        self.settings = settings
        self.client = Elasticsearch(settings.elasticsearch.url)
        where = {"kafka": {"properties": {"partition": {"type": "integer"}, "offset": {"type": "long"}}}}
        self.mapping = {"dynamic": False, "properties": where}

    def index(self, at_ms: int) -> str:
        return f"{SOURCE.index}-{instant(at_ms):%Y.%m.%d}"

    def store(self, *events: Document) -> None:
        for one in events:
            index = self.index(one["timestamp"])
            self.client.options(ignore_status=400).indices.create(
                index=index, mappings=self.mapping, aliases={SOURCE.index: {}}, settings={"number_of_replicas": 0}
            )
            place = {"kafka.partition": 0, "kafka.offset": len(self.weather.come)}
            self.client.index(index=index, id=f"{one['device']['id']}:{one['event']['id']}", document=one | place)
            self.weather.come.append(one)

    def run(self, watermark: datetime) -> MaterialiseReport:
        """Materialise what is new, then a run of every metric over commands."""
        with ElasticsearchDocuments(self.settings.elasticsearch) as documents:
            report = self.weather.materialise(watermark=watermark, documents=documents)
        chosen = [one for one in self.weather.definitions.values() if one.source == "commands"]
        raise_failures(run_metrics(self.weather.settings, chosen, "minute", watermark=report.watermark))
        return report

    def told(self) -> tuple[set[str], set[str]]:
        """What freshness says of the metrics over commands, and doctor."""
        chosen = [one for one in self.weather.definitions.values() if one.source == "commands"]
        found = {held for one in freshness(self.weather.settings, chosen) for held in one.conditions}
        said = {one.said for one in found if one.condition.name == "closed_index"}
        lines = doctor.examine(self.weather.settings, {one.metric: one for one in chosen}, {})
        return said, {one.said for one in lines if one.about == "numbers" and one.status == "fail"}

    def drop(self) -> None:
        for index in self.client.indices.get(index=f"{SOURCE.index}-*", expand_wildcards="all"):
            self.client.indices.delete(index=index)
        self.client.close()


@pytest.fixture
def commands(weather: Weather, elasticsearch: Any) -> Iterator[Stored]:
    found = Stored(weather, Settings(elasticsearch=ElasticsearchSettings(url=elasticsearch.url)))
    yield found
    found.drop()


@fault(
    "Somebody closes a daily index of the command events, of a day whose deadlines have passed",
    number="of every other day right; of that day as before, and right once it is open again",
    freshness="error: each metric over commands, the index, and how to open it",
    doctor="fail: the same",
    exporter='`fleetgauge_rollup_condition{condition="closed_index"}` 1',
    exit_code="run 0, freshness 75",
)
def test_a_closed_day_of_commands_stops_no_other(commands: Stored) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    today, before = (round(at.timestamp() * 1000) for at in (now - timedelta(minutes=5), now - timedelta(days=2)))

    def asked(number: int, at_ms: int) -> list[Document]:
        one = {"command_id": f"c-{number}", "requested_ms": at_ms, "deadline_ms": at_ms + 30_000}
        return [document("requested", at_ms, **one), document("sent", at_ms + 1, **one)]  # type: ignore[arg-type]

    def statuses() -> dict[str, str]:
        rows = commands.weather.owner.execute("SELECT command_id, status FROM fleetgauge.command_attempt")
        return dict(rows.fetchall())

    commands.store(*asked(1, before))
    commands.run(now)
    assert statuses() == {"c-1": "timed_out"}
    answer = {"command_id": "c-1", "requested_ms": before, "deadline_ms": before + 30_000}
    commands.store(document("responded", before + 2_000, **answer), *asked(2, before))  # type: ignore[arg-type]
    commands.client.indices.close(index=commands.index(before))
    commands.store(*asked(3, today))
    for seconds in (1, 2):  # the second run finds nothing new
        assert commands.run(now + timedelta(seconds=seconds)).watermark == now + timedelta(seconds=seconds)
        assert statuses() == {"c-1": "timed_out", "c-3": "timed_out"}
        said, lines = commands.told()
        (one,) = said
        assert commands.index(before) in one and f"POST /{commands.index(before)}/_open" in one
        assert lines and all(commands.index(before) in line for line in lines)
    commands.client.indices.open(index=commands.index(before), wait_for_active_shards="1")
    commands.run(now + timedelta(seconds=3))
    assert statuses() == {"c-1": "succeeded", "c-2": "timed_out", "c-3": "timed_out"}
    assert commands.told() == (set(), set())
    requested = commands.weather.rows("sum(requested), sum(succeeded)", "device_command")
    assert set(map(tuple, requested.values())) == {((3, 1),)}


@fault(
    "A daily index of the command events is closed before its last deadlines were judged",
    number="provisional from that day on: an answer in it may be unseen, so no command times out by that",
    freshness="error: the index, and how to open it; then overdue",
    doctor="fail: the same",
    exporter='`fleetgauge_rollup_condition{condition="closed_index"}` 1, overdue',
    exit_code="run 0, freshness 75",
)
def test_no_command_times_out_by_an_answer_in_a_closed_index(commands: Stored) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    day = now.replace(hour=0, minute=0, second=0)
    at = round((day - timedelta(seconds=30)).timestamp() * 1000)
    one = {"command_id": "c-1", "requested_ms": at, "deadline_ms": at + 60_000}
    commands.store(document("requested", at, **one))  # type: ignore[arg-type]
    commands.run(day - timedelta(seconds=10))
    commands.store(document("responded", at + 5_000, **one))  # type: ignore[arg-type]
    commands.client.indices.close(index=commands.index(at))
    assert commands.run(now).watermark == day - timedelta(days=1)
    status = "SELECT status FROM fleetgauge.command_attempt"
    assert commands.weather.owner.execute(status).fetchall() == [("queued",)]
    assert commands.told()[0]
    commands.client.indices.open(index=commands.index(at), wait_for_active_shards="1")
    assert commands.run(now).watermark == now
    assert commands.weather.owner.execute(status).fetchall() == [("succeeded",)]


@fault(
    "Somebody deletes a daily index of the command events, in the middle of what is kept",
    number="of what was read of it as before; what was not read of it is in no number",
    freshness="warn: each metric over commands, and the index",
    doctor="warn: the same",
    exporter='`fleetgauge_rollup_condition{condition="lost_documents"}` 1',
    exit_code="0 of run",
)
def test_a_deleted_day_of_commands_is_told(commands: Stored) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    today, before = (round(at.timestamp() * 1000) for at in (now - timedelta(minutes=5), now - timedelta(days=2)))

    def asked(number: int, at_ms: int) -> Document:
        one = {"command_id": f"c-{number}", "requested_ms": at_ms, "deadline_ms": at_ms + 30_000}
        return document("requested", at_ms, **one)  # type: ignore[arg-type]

    def told() -> tuple[set[str], set[str]]:
        chosen = [one for one in commands.weather.definitions.values() if one.source == "commands"]
        found = {held for one in freshness(commands.weather.settings, chosen) for held in one.conditions}
        said = {one.metric for one in found if one.condition.name == "lost_documents" and index in one.said}
        lines = doctor.examine(commands.weather.settings, {one.metric: one for one in chosen}, {})
        return said, {one.status for one in lines if index in one.said}

    index = commands.index(before)
    kept = asked(1, before)
    commands.store(kept, asked(2, today))
    commands.run(now)
    assert told() == (set(), set())
    commands.client.indices.delete(index=index)
    commands.run(now + timedelta(seconds=1))
    metrics = {one.metric for one in commands.weather.definitions.values() if one.source == "commands"}
    assert told() == (metrics, {"warn"})
    requested = commands.weather.rows("sum(requested)", "device_command")
    assert set(map(tuple, requested.values())) == {((2,),)}
    commands.store(kept)  # restored, or read again
    commands.run(now + timedelta(seconds=2))
    assert told() == (set(), set())
    assert set(map(tuple, commands.weather.rows("sum(requested)", "device_command").values())) == {((2,),)}
