"""Daily indices that cannot be read: their days wait and are named, everything else goes on."""

from datetime import datetime, timedelta
from typing import Any

import document_world as documents
from elasticsearch import Elasticsearch
from fault_table import fault
from prometheus_client import CollectorRegistry, generate_latest

from fleetgauge import diagnosis
from fleetgauge.rollup.operating.exports import RollupCollector
from fleetgauge.rollup.operating.freshness import freshness

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
