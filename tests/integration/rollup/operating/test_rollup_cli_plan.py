"""What operators see before anything happens: plan, render, doctor."""

import json
import re
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from cli_world import METRIC, SOURCE, Shell
from rollup_world import World


@pytest.fixture(scope="module")
def metrics_template() -> str:
    """Nothing: the plan says what is still to be migrated."""
    return "template1"


@pytest.fixture(scope="module")
def shell(world: World, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    made = Shell(world, tmp_path_factory.mktemp("content"))
    made.configure()
    generated = made.folder / "dashboards" / "generated"
    generated.mkdir(parents=True)
    (generated / "rides.json").write_text('{"rawSql": "SELECT 1 FROM metrics.ride_${grain}"}')
    (generated / "other.json").write_text('{"rawSql": "SELECT 1 FROM metrics.ride_to_hell_hour"}')
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    for hours in range(1, 30):
        world.insert(now - timedelta(hours=hours))
    world.beat()
    world.catch_up()
    return made


def test_before_and_after_the_first_run(shell: Shell) -> None:
    one = shell.write()
    fresh = shell("plan", "--json").json
    assert "0001" in fresh["revisions"]
    assert one.table(one.levels[0]) in fresh["tables"]
    (plan,) = fresh["metrics"]
    assert (plan["state"], plan["dashboards"]) == ("new", ["rides"])
    assert 29 * 60 - 2 <= plan["minutes"] <= 29 * 60 + 2
    assert plan["facts"] > 0
    shell("migrate")
    shell("run", "ride")
    after = shell("plan", "ride", "--json").json
    assert (after["revisions"], after["tables"]) == ([], [])
    (plan,) = after["metrics"]
    assert plan["state"] == "current"
    assert plan["minutes"] < 5


def test_a_changed_definition_is_built_beside(shell: Shell) -> None:
    shell.write(
        METRIC.replace("  length: {agg: sum, of: length, type: integer}\n", "  longest: {agg: max, of: length}\n")
    )
    answer = shell("plan")
    assert "built beside" in answer.out
    assert "  + longest" in answer.out and "  - length" in answer.out
    assert "dashboards that read it: rides" in answer.out
    secret = shell.world.settings.metrics.url.get_secret_value().split("@")[0]
    assert secret not in answer.out + answer.err
    shell.write()


def test_a_renamed_column_is_named_with_its_metric(shell: Shell) -> None:
    shell.write(source=SOURCE.replace("length", "length_m AS length"))
    try:
        answer = shell("plan", code=78)
        assert "metric ride" in answer.err and "length_m" in answer.err
        assert "error:" in answer.out
    finally:
        shell.write()


def test_a_missing_index_on_a_large_table_is_named(shell: Shell) -> None:
    world = shell.world
    world.app.execute("DROP INDEX facts_changed_at_idx")
    try:
        # What the planner goes by, without waiting for rows.
        world.app.execute(
            "INSERT INTO facts (happened_at, changed_at, kind, state)"
            " SELECT now() - interval '2 days', now() - interval '2 days', 'x', 'done' FROM generate_series(1, 120000)"
        )
        world.app.execute("ANALYZE facts")
        world.catch_up()
        (plan,) = shell("plan", "--json").json["metrics"]
        (warning,) = plan["warnings"]
        assert "what has changed" in warning
        assert "CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_facts_changed_at ON facts (changed_at);" in warning
        assert "happened_at)" not in warning  # that one is there
    finally:
        world.app.execute("DELETE FROM facts WHERE happened_at < now() - interval '47 hours'")
        world.app.execute("CREATE INDEX ON facts (changed_at)")
        world.app.execute("VACUUM ANALYZE facts")


@pytest.mark.parametrize("what", ["windows", "cells", "touched", "totals"])
def test_what_is_rendered_runs_on_the_replica_as_it_is(shell: Shell, what: str) -> None:
    one = shell.write()
    text = shell("render", "ride", "--what", what).out
    assert text.count("\n") > 5
    settings = shell.world.settings
    with psycopg.connect(settings.source("operations").url.get_secret_value()) as replica:
        cursor = replica.execute(text.strip().removesuffix(";"))
        assert cursor.description is not None
        columns = 1 + len(one.dimensions)
        assert len(cursor.description) >= columns


@pytest.mark.parametrize("grain", ["minute", "hour", "day"])
def test_rendered_ddl_and_merges_run(shell: Shell, grain: str) -> None:
    one = shell.write()
    shell("migrate")
    metrics = shell.world.metrics
    levels = [level for level in one.levels if level.grain == grain]
    with metrics.transaction(force_rollback=True):
        before = [metrics.execute(f"SELECT count(*) FROM store.{one.table(level)}").fetchone() for level in levels]
        if grain != "minute":
            text = shell("render", "ride", "--grain", grain).out
            (begin, end) = re.search(r">= ('[^']+'\S+)\s+AND \S+ < ('[^']+'\S+)", text).groups()  # type: ignore[union-attr]
            for level in levels:
                metrics.execute(
                    f"DELETE FROM store.{one.table(level)} WHERE window_start >= {begin} AND window_start < {end}"
                )
            metrics.execute(text)
        after = [metrics.execute(f"SELECT count(*) FROM store.{one.table(level)}").fetchone() for level in levels]
        assert after == before
        for level in levels:
            metrics.execute(f"DROP TABLE store.{one.table(level)} CASCADE")
        metrics.execute(shell("render", "ride", "--what", "tables", "--grain", grain).out)
        metrics.execute(shell("render", "ride", "--what", "views", "--grain", grain).out)


def test_documents_are_asked_by_searches(shell: Shell) -> None:
    real = Shell(shell.world, Path(__file__).parents[4])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Shell, "config", shell.config)
        patch.setenv("FLEETGAUGE_CONTENT", str(real.folder))
        text = real("render", "telemetry").out
        assert "not defined" in real("render", "telemetri", code=78).err
    first = json.loads(text.split("\n\n")[0])
    assert first["size"] == 0
    assert "composite" in first["aggs"]["all"]
    assert len(text.split("\n\n")) == 4  # numbers, and three sketches


# --- doctor ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def well(shell: Shell) -> Shell:
    shell.write()
    shell.configure()
    shell("migrate")
    shell.world.beat()
    shell.world.catch_up()
    return shell


def test_all_is_well(well: Shell) -> None:
    answer = well("doctor")
    assert not re.search(r"^(fail|warn) ", answer.out, re.MULTILINE), answer.out
    assert f"setting sources.operations.url: from {well.config}" in answer.out
    url = well.world.settings.source("operations").url.get_secret_value()
    assert url not in answer.out
    found = well("doctor", "--json").json
    assert {one["status"] for one in found["findings"]} == {"ok"}
    assert "url" not in str(found["settings"].values()).replace("_URL", "")


def test_each_fault_is_told_with_its_remedy(well: Shell) -> None:
    app = well.world.app
    app.execute("DROP INDEX facts_changed_at_idx")
    app.execute("GRANT DELETE ON facts TO fleetgauge_reader")
    app.execute("UPDATE fleetgauge_heartbeat SET beat_at = beat_at - interval '5 minutes'")
    well.world.catch_up()
    well.configure(statement_timeout_s="60")
    try:
        answer = well("doctor", code=78).out
        assert "may write 1 table(s): facts; REVOKE" in answer
        assert "CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_facts_changed_at ON facts (changed_at);" in answer
        assert "statement_timeout_s 60 is not below its delay of 30 s" in answer
        assert re.search(r"warn source operations: its heartbeat is 3\d\d s old", answer)
        script = well("doctor", "--sql").out
        assert "ix_facts_changed_at" in script and "ix_facts_happened_at" not in script
    finally:
        app.execute("CREATE INDEX ON facts (changed_at)")
        app.execute("REVOKE DELETE ON facts FROM fleetgauge_reader")


def test_a_primary_is_asked_nothing_more(well: Shell) -> None:
    world = well.world
    text = well.config.read_text()
    replica = world.settings.source("operations").url.get_secret_value()
    well.config.write_text(text.replace(replica, world.postgres.url("primary", "postgres", world.name)))
    about = [one for one in well("doctor", "--json", code=78).json["findings"] if one["about"] == "source operations"]
    assert [one["status"] for one in about] == ["fail"]
    assert "is a primary" in about[0]["said"]


def test_what_is_away_or_not_migrated_is_a_finding(well: Shell) -> None:
    well.write(METRIC.replace("limit: 16", "limit: 17"))
    assert "has no tables for this version of ride; run fleetgauge migrate" in well("doctor", code=78).out
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        away = f"postgresql://x:hidden@127.0.0.1:{nobody.getsockname()[1]}/x"
        text = well.config.read_text()
        for section in ("metrics", "sources.operations"):
            text = re.sub(rf'(\[{section}\]\nurl = )"[^"]*"', rf'\1"{away}"', text)
        well.config.write_text(text)
        answer = well("doctor", code=78).out
    told = re.findall(r"^fail (.*?):", answer, re.MULTILINE)
    assert told == ["metrics database", "numbers", "source operations"]
    assert "hidden" not in answer
