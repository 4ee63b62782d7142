"""After a bulk load without an index nothing is certain: a plan says so, and a run asks no more than it must."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cli_world import METRIC, Shell
from fault_table import fault
from rollup_world import World

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
ROWS = 150_000
SPREAD = timedelta(days=400)


@pytest.fixture
def shell(world: World, tmp_path: Path) -> Shell:
    """A table that was loaded at once, without the indexes on its times, and with statistics that know how large it
    is."""
    found = Shell(world, tmp_path)
    found.configure()
    world.app.execute("DROP INDEX facts_happened_at_idx, facts_changed_at_idx")
    world.app.execute(
        "INSERT INTO facts (happened_at, changed_at, zone, kind, state, amount, length, score)"
        " SELECT at, at, 'a', 'x', 'done', 1, 1, 1"
        " FROM (SELECT %s::timestamptz - %s * random() AS at FROM generate_series(1, %s)) AS f",
        [NOW, SPREAD, ROWS],
    )
    world.app.execute("VACUUM ANALYZE facts")
    world.beat()
    world.catch_up(limit_s=120)
    return found


@fault(
    "A source is loaded in bulk, and has no index that serves the questions of a run",
    number="right, once a run has come through",
    freshness="error until then",
    doctor="names the index that is missing",
    exporter="fleetgauge_rollup_pending_minutes",
    exit_code="0 of plan, which says that the work is unknown",
)
def test_what_was_not_looked_up_is_unknown_not_nothing(shell: Shell) -> None:
    shell.write(METRIC)
    shell("migrate")
    (found,) = shell("plan", "ride", "--json").json["metrics"]
    assert any("how much history there is" in what for what in found["plan"]["unknown"])
    assert found["plan"]["stages"] == []
    said = shell("plan", "ride").out
    assert "unknown: how much history there is" in said
    assert "nothing to do" not in said
    assert "CREATE INDEX" in said
    assert shell("freshness", "ride", "--json", code=75).json[0]["verdict"] == "error"
    assert "facts (happened_at)" in shell("doctor", code=None).out
    # Served by an index again, the plan knows.
    shell.world.app.execute("CREATE INDEX ON facts (happened_at); CREATE INDEX ON facts (changed_at)")
    shell.world.beat()
    shell.world.catch_up(limit_s=120)
    (found,) = shell("plan", "ride", "--json").json["metrics"]
    assert not found["plan"]["unknown"]
    assert found["minutes"] == pytest.approx(SPREAD.total_seconds() / 60, rel=0.01)
