"""How a number came about is told: value, source rows with the query that shows them, changes, final or not and why."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from rollup_world import World, definition

from fleetgauge.errors import Terminal
from fleetgauge.rollup.operating.explain import explain

AT = (datetime.now(UTC) - timedelta(days=3)).replace(hour=4, minute=5, second=0, microsecond=0)


def run(world: World, one: object) -> None:
    world.beat()
    world.catch_up()
    assert world.run(one).error is None  # type: ignore[arg-type]


def test_a_number_is_explained_down_to_its_source_rows(world: World) -> None:
    one = definition("explained", source_kept="400d", grace="1h")
    world.migrate(one)
    world.forget(one)
    for zone, amount in (("a", 10), ("a", 5), ("b%'s", 7)):
        world.insert(AT, zone=zone, state="done", amount=amount)
    run(world, one)
    run(world, one)
    world.insert(AT + timedelta(minutes=9), zone="a", state="done", amount=1)
    run(world, one)

    found = explain(world.settings, one, AT + timedelta(minutes=20), "hour", {"zone": "a"})
    assert (found.begin.astimezone(UTC), found.end.astimezone(UTC)) == (
        AT.replace(minute=0),
        AT.replace(minute=0) + timedelta(hours=1),
    )
    assert (found.version, found.shown, found.final, found.waits_for) == (one.version, one.version, True, None)
    assert {v.measure: v.value for v in found.values}["amount"] == "16"
    assert found.source_rows.count == 3
    with psycopg.connect(world.settings.source("operations").url.get_secret_value()) as reader:
        assert len(reader.execute(found.source_rows.query.encode()).fetchall()) == 3
    changed = {r.measure: (r.before, r.after) for r in found.restatements}
    assert changed["amount"] == ("15", "16")

    assert explain(world.settings, one, AT, "day", {"zone": "b%'s"}).source_rows.count == 1
    assert explain(world.settings, one, AT, "day", {"zone": "b%'s"}).restatements == ()
    late = explain(world.settings, one, datetime.now(UTC) - timedelta(minutes=5), "minute", {})
    assert not late.final
    assert late.waits_for is not None
    assert late.waits_for.startswith("the watermark of source operations to reach ")
    with pytest.raises(Terminal, match="no dimension 'zoned'; it has zone, kind"):
        explain(world.settings, one, AT, "day", {"zoned": "a"})
    assert found.to_dict()["source_rows"]["count"] == 3
