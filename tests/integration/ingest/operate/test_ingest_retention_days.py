"""Retention on a real server: whole days go, by their exact names, and what comes late makes its day anew."""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from fleetgauge.cli.app import app
from fleetgauge.ingest.indices.event_indices import COARSE_TILE
from fleetgauge.ingest.operate import field_retention
from fleetgauge.ingest.operate.launch import consume
from fleetgauge.ingest.operate.service import ConsumeOptions

TO_THE_END = ConsumeOptions(until_caught_up=True)
KEEPS_TEN_DAYS = "retention=__import__('datetime').timedelta(days=10)"


def retention(world: Any, *options: str, what: str = "consumers") -> Any:
    """What `fleetgauge retention` says of the one consumer."""
    environment = {"FLEETGAUGE_CONTENT": str(world.content)}
    done = CliRunner().invoke(app, ["retention", *options, "--json"], env=environment, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)[what]
    return told[0]["days"] if what == "fields" else told[0]


@pytest.mark.parametrize("world", [KEEPS_TEN_DAYS], indirect=True)
def test_expired_days_go_and_nothing_else(world: Any, event: Any) -> None:
    world.send([event(number) for number in range(60)])  # today and the two days before
    assert consume(world.consumer, world.settings, TO_THE_END).events["ok"] == 60
    template = world.ask("GET", f"/_index_template/fleetgauge-{world.consumer.index}")["index_templates"][0]
    assert "lifecycle" not in json.dumps(template)  # this server has none, and would refuse the setting

    prefix = world.consumer.index
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    expired = [f"{prefix}-{today - timedelta(days=days):%Y.%m.%d}" for days in (400, 12)]
    wanted = f"{prefix}-{today - timedelta(days=9):%Y.%m.%d}"
    others = [f"{prefix}-2020.01.01-copy", f"{prefix}-2020.13.01", f"{prefix}-restored"]
    for name in (*expired, wanted, *others):
        world.ask("PUT", f"/{name}")
    world.ask("POST", f"/{expired[0]}/_doc?refresh=true", {"kind": "location"})
    world.ask("POST", f"/{expired[1]}/_close")  # closed, and no less expired
    before = indices(world)

    planned = retention(world, "--dry-run")
    assert [day["index"] for day in planned["deleted"]] == expired and indices(world) == before
    assert planned["deleted"][0]["documents"] == 1 and planned["deleted"][0]["size_bytes"] > 0
    assert retention(world, world.consumer.name)["deleted"] == planned["deleted"]
    assert indices(world) == before - set(expired)
    again = retention(world)
    assert again["deleted"] == [] and again["kept"] == 4 and again["error"] is None
    assert len(world.stored()) == 60


@pytest.mark.parametrize("world", [KEEPS_TEN_DAYS], indirect=True)
def test_a_day_that_a_replay_makes_anew_is_whole_and_goes_again(world: Any, event: Any) -> None:
    """Records are accepted by their Kafka timestamp, so a replay of an old topic brings expired days back."""
    long_ago = int(time.time() * 1000) - 20 * 86_400_000
    world.send([event(number, timestamp=long_ago) for number in range(40)], timestamp_ms=long_ago)
    assert consume(world.consumer, world.settings, TO_THE_END).events["ok"] == 40
    (day,) = {hit["_index"] for hit in world.stored()}
    assert [gone["index"] for gone in retention(world)["deleted"]] == [day]
    world.send([event(number, timestamp=long_ago) for number in range(40)], timestamp_ms=long_ago)
    assert consume(world.consumer, world.settings, TO_THE_END).events["ok"] == 40
    assert len(world.stored()) == 40
    found = world.ask("GET", f"/{day}")[day]
    assert found["mappings"]["dynamic"] == "false" and world.consumer.index in found["aliases"]
    assert [(gone["index"], gone["documents"]) for gone in retention(world)["deleted"]] == [(day, 40)]


class Later:
    """A clock that is fifteen days ahead."""

    def now(self) -> datetime:
        """See `Clock`."""
        return datetime.now(UTC) + timedelta(days=15)


def test_positions_go_before_their_documents_and_nothing_else(world: Any, event: Any) -> None:
    """Of days older than thirty days; what a replay stores later goes too, and is no other event meanwhile."""
    old = int(time.time() * 1000) - 20 * 86_400_000
    events = [event(number, timestamp=old, who={"note": "kept"}) for number in range(40)]
    world.send(events, timestamp_ms=old)
    world.send([event(number) for number in range(40, 60)])
    assert consume(world.consumer, world.settings, TO_THE_END).events["ok"] == 60
    before = {hit["_id"]: hit["_source"] for hit in world.stored()}
    (day,) = {hit["_index"] for hit in world.stored() if hit["_source"]["timestamp"] == old}

    assert retention(world, "--dry-run", what="fields") == []
    tiles = by_tile(world, day)
    assert sum(tiles.values()) == 40
    planned = field_retention.run(world.settings, clock=Later(), dry_run=True)
    assert [(one.index, one.fields, one.documents) for one in planned[0].days] == [(day, ("location",), 40)]
    assert field_retention.overdue(world.bulk, world.consumer.index, {"location": timedelta(days=30)}, Later().now()), (
        "doctor sees it"
    )
    gone = field_retention.run(world.settings, clock=Later())
    assert gone == planned
    for hit in world.stored():
        source, was = hit["_source"], before[hit["_id"]]
        middle = [round(axis, 6) for axis in field_retention.middle_of_tile(*was["geo.location"])]
        kept = {name: value for name, value in was.items() if name != "location"} | {"geo.location": middle}
        assert source == (kept if hit["_index"] == day else was)
    assert by_tile(world, day) == tiles, "a metric by map tile can be computed anew"
    assert field_retention.run(world.settings, clock=Later())[0].days == ()

    world.send([*events, event(99, timestamp=old)], timestamp_ms=old)
    again = consume(world.consumer, world.settings, TO_THE_END).events
    assert (again["ok"], again["duplicate"], again.get("collision", 0)) == (1, 40, 0)
    assert [one.documents for one in field_retention.run(world.settings, clock=Later())[0].days] == [1]
    assert sum("location" in hit["_source"] for hit in world.stored()) == 20


def by_tile(world: Any, index: str) -> dict[str, int]:
    """Documents by Elasticsearch's own map tile."""
    grid = {"geotile_grid": {"field": "geo.location", "precision": COARSE_TILE}}
    world.ask("POST", f"/{index}/_refresh")
    found = world.ask("POST", f"/{index}/_search", {"size": 0, "aggs": {"tiles": grid}})
    return {tile["key"]: tile["doc_count"] for tile in found["aggregations"]["tiles"]["buckets"]}


def indices(world: Any) -> set[str]:
    rows = world.ask("GET", f"/_cat/indices/{world.consumer.index}*?format=json&h=index&expand_wildcards=all")
    return {row["index"] for row in rows}
