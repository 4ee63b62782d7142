"""Events that are sent again with the time of another day, far from midnight: counted twice, and told."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import document_world as documents
from fault_table import fault
from prometheus_client import CollectorRegistry, generate_latest

from fleetgauge import diagnosis, pipeline
from fleetgauge.rollup.operating.exports import RollupCollector
from fleetgauge.rollup.operating.freshness import freshness

world, database, start = documents.world, documents.database, documents.start


@fault(
    "A device sends events again with a new time, more than an hour from midnight, so that they lie in two days",
    number="each counts once for each day; how many is known from a sample of yesterday's, each night",
    freshness="warn: how many of the sample, and one of them",
    doctor="warn: the same",
    exporter='`fleetgauge_rollup_condition{condition="repeated_events"}` as many as the sample has',
    exit_code="0 of reconcile",
)
def test_events_that_lie_in_two_days_are_told(world: Any) -> None:
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
    span = noon - timedelta(days=4), noon + timedelta(days=2)
    once = documents.mixed(noon, 5, 40)
    world.send(*once, *documents.mixed(noon - timedelta(days=2), 5, 10))
    world.ingest()
    world.run()

    def told() -> tuple[set[str], list[str], float]:
        definitions = {world.name: world.definition}
        held = {one for standing in freshness(world.settings, definitions.values()) for one in standing.conditions}
        registry = CollectorRegistry()
        registry.register(RollupCollector(world.settings, definitions))
        sample = f'fleetgauge_rollup_condition{{condition="repeated_events",metric="{world.name}"}} '
        (line,) = (one for one in generate_latest(registry).decode().splitlines() if one.startswith(sample))
        lines = [one.said for one in diagnosis.examine(world.settings) if one.about == "numbers" and one.status != "ok"]
        return {one.said for one in held if one.condition.name == "repeated_events"}, lines, float(line.split()[-1])

    (report,) = pipeline.reconcile(world.settings, span, [world.name])
    assert report.repeated is not None and (report.repeated.sampled, report.repeated.found) == (29, 0)
    assert told() == (set(), [], 0)

    counted = [one for one in once if one["message"]["direction"] == "uplink" and one["kind"] != "odometer"]
    again = [{**one, "timestamp": one["timestamp"] - 86_400_000} for one in counted[:7]]
    world.send(*again)
    world.ingest()
    world.run()
    (report,) = pipeline.reconcile(world.settings, span, [world.name], dry_run=True)
    assert told()[0] == set()  # a dry run writes nothing down
    (report,) = pipeline.reconcile(world.settings, span, [world.name])
    assert report.repeated is not None and report.repeated.found == 7
    assert json.loads(json.dumps(report.to_dict()))["repeated"]["found"] == 7
    (said,), lines, sample = told()
    assert f"of 29 events of {noon:%Y-%m-%d} that were looked at, 7 are stored under another day" in said
    assert any(f"{one['device']['id']}:{one['event']['id']}" in said for one in again)
    assert (len(lines), sample) == (1, 7) and said in lines[0]
