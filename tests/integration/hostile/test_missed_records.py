"""Records that Kafka's retention deleted before a consumer read them: each metric over them says so."""

from datetime import UTC, datetime, timedelta
from typing import Any

import document_world as documents
from command_weather import SOURCE, Weather
from fault_table import fault
from kafka import TopicPartition
from prometheus_client import CollectorRegistry, generate_latest

from fleetgauge import diagnosis
from fleetgauge.commands.materialise import materialise_documents
from fleetgauge.commands.store import open_store
from fleetgauge.progress.offsets import GroupProgress, PartitionProgress
from fleetgauge.rollup.operating.exports import RollupCollector
from fleetgauge.rollup.operating.freshness import freshness

world, database, start = documents.world, documents.database, documents.start


def told(world: Any) -> tuple[set[str], set[str], list[str], str]:
    """Verdicts and conditions of freshness, doctor's lines about the metric, and the exporter's page."""
    definitions = {world.name: world.definition}
    standings = freshness(world.settings, definitions.values())
    said = {one.said for standing in standings for one in standing.conditions}
    registry = CollectorRegistry()
    registry.register(RollupCollector(world.settings, definitions))
    lines = [one.said for one in diagnosis.examine(world.settings) if one.about == "numbers" and one.status != "ok"]
    return {one.verdict for one in standings}, said, lines, generate_latest(registry).decode()


@fault(
    "Kafka's retention deletes records that no consumer has read",
    number="without these records; they cannot be had any more",
    freshness="warn: how many of which partition, for 30 days",
    doctor="warn: the same, before the consumer goes on and for 30 days after",
    exporter="`fleetgauge_ingest_missed_records_total`, alert FleetgaugeRecordsMissed, "
    '`fleetgauge_rollup_condition{condition="missed_records"}` as many',
    exit_code="0",
)
def test_records_that_nobody_read_are_told_of_each_metric(world: Any, start: datetime) -> None:
    world.send(*documents.mixed(start, 5, 20))
    world.ingest()
    world.run()
    assert told(world)[:3] == ({"ok"}, set(), [])
    kept = len(world.sent)
    world.send(*documents.mixed(start, 5, 20))
    world.admin.delete_records({TopicPartition(world.name, 1): 13})
    lost = set(range(kept, len(world.sent))) & {10 * 2 + 1, 11 * 2 + 1, 12 * 2 + 1}
    sample = f'fleetgauge_rollup_condition{{condition="missed_records",metric="{world.name}"}} 3.0'
    words = f"3 of partition 1 of {world.name}: they are in no number"
    for ingested in (False, True):  # before the consumer goes on, and after
        if ingested:
            world.ingest()
        assert world.run().error is None
        verdicts, said, lines, page = told(world)
        assert verdicts == {"warn"} and len(said) == 1 and words in said.pop()
        assert any(words in line for line in lines) and sample in page
    world.sent = [one for number, one in enumerate(world.sent) if number not in lost]
    world.assert_right()
    world.send(*documents.mixed(start, 5, 8))
    world.ingest()
    world.run()
    assert told(world)[0] == {"warn"}  # whoever reads on does not forget it


def test_so_they_are_of_commands(weather: Weather) -> None:
    now = datetime.now(UTC)
    read = PartitionProgress(0, 10, 10, 10, unfinished_at=None, missed=3, missed_at=now)
    for observed_at, count in ((now, 3), (now + timedelta(days=31), 0)):
        progress = GroupProgress(SOURCE.topic, SOURCE.group, "topic", observed_at, (read,))
        with open_store(weather.settings.metrics, SOURCE) as store:
            materialise_documents(store, weather.documents({0: []}), progress, SOURCE)
        (hour,) = (one for one in freshness(weather.settings, [weather.definitions["traffic"]]) if one.grain == "hour")
        assert sum(held.count for held in hour.conditions if held.condition.name == "missed_records") == count
