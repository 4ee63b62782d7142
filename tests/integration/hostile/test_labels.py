"""Texts that look like what stands for NULL, overflow or no filter: each is a row of its own, wherever one looks."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cli_world import METRIC, Shell
from dashboards.build import dashboard_json
from dashboards.definitions.metric import build
from dashboards.queries import dashboard_queries, panel_queries
from fault_table import fault
from rollup_world import World

from fleetgauge.rollup import Definition

NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
AT = NOW - timedelta(hours=3)
TEXTS = ["unknown", "other", "", "-", "NULL", "(not set)", "(other)", "\\(other)", "\\\\(not set)", "*", "\\*", "\\x00"]
LABELS = {text: text for text in TEXTS} | {
    "(not set)": "\\(not set)",
    "(other)": "\\(other)",
    "\\(other)": "\\\\(other)",
    "\\\\(not set)": "\\\\\\(not set)",
    "*": "\\*",
    "\\*": "\\\\*",
}
"""Spelled out: the engine's own rule would prove itself."""
EXPECTED = {**{label: 1 + n for n, label in enumerate(LABELS[text] for text in TEXTS)}, "(not set)": 20, "(other)": 30}
FULL = METRIC.replace("zone: {column: zone, limit: 16}", f"zone: {{column: zone, limit: {len(TEXTS) + 1}}}").replace(
    "rollups: {by_zone: [zone]}", "rollups: {by_zone: [zone], by_kind: [kind]}"
)


@pytest.fixture
def shell(world: World, tmp_path: Path) -> Iterator[Shell]:
    made = Shell(world, tmp_path)
    made.configure()
    yield made


def fill(world: World, counts: dict[str | None, int]) -> None:
    for zone, count in counts.items():
        world.app.execute(
            "INSERT INTO facts (happened_at, zone, kind, state, amount, length, score)"
            " SELECT %s, %s, 'x', 'open', 1, 1, 1 FROM generate_series(1, %s)",
            [AT, zone, count],
        )


def run(shell: Shell, one: Definition) -> None:
    shell.world.beat()
    shell.world.catch_up()
    shell("run", one.metric)


@pytest.fixture
def one(shell: Shell) -> Definition:
    """Every text once or more, NULL 20 times; then 30 of values beyond the limit."""
    made = shell.write(FULL)
    shell("migrate")
    shell.world.forget(made)
    fill(shell.world, {**{text: 1 + n for n, text in enumerate(TEXTS)}, None: 20})
    run(shell, made)
    fill(shell.world, {"v1": 10, "v2": 20})
    run(shell, made)
    return made


def counted(rows: list[tuple[Any, ...]]) -> dict[str, int]:
    found = Counter[str]()
    for zone, n in rows:
        found[zone] += n
    return dict(found)


@fault(
    "A dimension has the texts unknown, other, (not set), (other), * and none at all, beside NULLs and overflow",
    number="a row for each at every grain; NULL is `(not set)`, overflow `(other)`, such texts get a backslash",
    freshness="warn, since the limit is reached",
    doctor="warn, since the limit is reached",
    exporter="fleetgauge_dimension_values beside fleetgauge_dimension_limit",
    exit_code="0",
)
def test_each_is_a_row_of_its_own(shell: Shell, one: Definition) -> None:
    world = shell.world
    for view in ("minute", "hour", "day", "by_zone_hour", "by_zone_day"):
        rows = world.metrics.execute(f"SELECT zone, n FROM metrics.{one.metric}_{view}").fetchall()
        assert len(rows) == len(EXPECTED) and counted(rows) == EXPECTED, view
    for grain in ("minute", "hour", "day"):
        shown = shell("show", one.metric, "--last", "3d", "--grain", grain, "--by", "zone", "--json").json["rows"]
        assert {row["zone"]: row["n"] for row in shown} == EXPECTED
    begin, end = (f"{at:%Y-%m-%dT%H:%MZ}" for at in (AT - timedelta(hours=1), NOW))
    compared = shell("reconcile", one.metric, "--from", begin, "--to", end, "--dry-run", "--json").json
    assert [found["different"] for found in compared["metrics"]] == [0]


def test_a_late_row_concerns_its_own_cell(shell: Shell, one: Definition) -> None:
    world = shell.world
    world.app.execute("UPDATE facts SET changed_at = changed_at - interval '1 day'")
    world.metrics.execute("DELETE FROM fleetgauge.restatement")
    late = [None, "unknown", "other", "(not set)", "\\(other)", "v1", ""]
    for zone in late:
        world.insert(AT, zone=zone)
    run(shell, one)
    labels = [LABELS.get(zone or "", "(other)") if zone is not None else "(not set)" for zone in late]
    rows = world.metrics.execute(f"SELECT zone, n FROM metrics.{one.metric}_day").fetchall()
    assert counted(rows) == {zone: n + labels.count(zone) for zone, n in EXPECTED.items()}
    changed = shell("restatements", one.metric, "--json").json
    assert {r["dimensions"]["zone"] for r in changed if r["level"] == "minute" and r["measure"] == "n"} == set(labels)


def test_explain_takes_what_is_shown(shell: Shell, one: Definition) -> None:
    hour = f"{AT:%Y-%m-%dT%H:%MZ}"
    everything = sum(EXPECTED.values())
    for label, n in EXPECTED.items():
        found = shell("explain", one.metric, hour, f"zone={label}", "--json").json
        assert {v["value"] for v in found["values"] if v["measure"] == "n"} == {str(n)}, label
        assert {v["dimensions"]["zone"] for v in found["values"]} == {label}
        assert found["source_rows"]["count"] == (everything if label == "(other)" else n), label
        with psycopg.connect(shell.world.settings.source("operations").url.get_secret_value()) as reader:
            rows = reader.execute(found["source_rows"]["query"].encode()).fetchall()
        assert len(rows) == found["source_rows"]["count"]
    assert shell("explain", one.metric, hour, "zone=*", "--json").json["values"] == []


def test_a_dashboard_narrows_to_each(shell: Shell, one: Definition) -> None:
    """Each value that its variable offers, and all: the panel of the count says as many."""
    dashboard = dashboard_json(*build(one))
    since, until = NOW - timedelta(days=2), NOW
    grafana = shell.world.metrics
    queries = dashboard_queries(dashboard, {"grain": "hour", "by": "nothing"}, since, until)
    offered = [value for (value,) in grafana.execute(next(q.sql for q in queries if q.name == "zone")).fetchall()]
    assert sorted(offered) == sorted(EXPECTED)

    def count(chosen: dict[str, Any]) -> int:
        asked = {"grain": "hour", "by": "nothing", **chosen}
        queries = dashboard_queries(dashboard, asked, since, until)
        ((stem,),) = grafana.execute(next(q.sql for q in queries if q.name == "stem")).fetchall()
        panels = panel_queries(dashboard, {**asked, "stem": stem}, since, until)
        panel = next(q for q in panels if q.name.startswith("N: "))
        return sum(int(row[-1]) for row in grafana.execute(panel.sql).fetchall())

    assert count({}) == sum(EXPECTED.values())
    assert {label: count({"zone": [label]}) for label in EXPECTED} == EXPECTED
    assert count({"zone": ["unknown", "(not set)"]}) == EXPECTED["unknown"] + EXPECTED["(not set)"]


def test_values_may_go_and_come(shell: Shell, one: Definition) -> None:
    values = shell("dimensions", "ls", one.metric, "--json").json[0]["values"]
    assert {v["value"] for v in values} == EXPECTED.keys() - {"(other)"}
    gone = shell("dimensions", "expire", one.metric, "zone", "\\(other)", "--json").json
    assert gone["expired"] == ["\\(other)"]
    assert (
        "'(other)' of dimension zone has no rows of its own"
        in shell("dimensions", "expire", one.metric, "zone", "(other)", code=78).err
    )


def test_older_versions_rows_are_shown_by_the_new_labels(shell: Shell) -> None:
    """Tables of before wrote NULL as `unknown` and overflow as `other`, and the source has forgotten."""
    world = shell.world
    kept = "source_kept: 40d\n"
    before = shell.write(FULL + kept)
    shell("migrate")
    world.forget(before)
    long_ago, lately = AT - timedelta(days=50), AT - timedelta(days=30)
    for at in (long_ago, lately):
        for zone in ("unknown", "other", "other", "(other)", "a"):
            world.insert(at, zone=zone)
    world.insert(AT - timedelta(days=35), zone="a")  # the earliest that is left: its own day may be a part
    shell.write(FULL)
    run(shell, before)
    # As format 1 had it: `unknown` is what was NULL, `(other)` a text like any.
    for level in before.levels:
        if "zone" in level.dimensions:
            world.metrics.execute(f"UPDATE store.{before.table(level)} SET zone = '(other)' WHERE zone = '\\(other)'")
    world.metrics.execute("UPDATE fleetgauge.metric_version SET label_format = 1 WHERE metric = 'ride'")
    world.app.execute("UPDATE facts SET zone = NULL WHERE zone = 'unknown'")
    world.app.execute("DELETE FROM facts WHERE happened_at < %s OR zone = 'other'", [AT - timedelta(days=40)])
    after = shell.write(FULL.replace("kind: {column: kind, limit: 16}", "kind: {column: kind, limit: 17}") + kept)
    assert after.version != before.version
    shell("migrate")
    run(shell, after)
    for view in ("minute", "hour", "day", "by_zone_day"):
        rows = world.metrics.execute(
            f"SELECT window_start < %s, zone, n, version FROM metrics.ride_{view}"
            " WHERE NOT window_start BETWEEN %s AND %s",
            [AT - timedelta(days=40), AT - timedelta(days=36), AT - timedelta(days=34)],
        ).fetchall()
        assert {(zone, n) for old, zone, n, version in rows if old and version == before.version} == {
            ("(not set)", 1),
            ("(other)", 2),
            ("\\(other)", 1),
            ("a", 1),
        }
        assert {(zone, n) for old, zone, n, version in rows if not old and version == after.version} == {
            ("(not set)", 1),
            ("\\(other)", 1),
            ("a", 1),
        }
    # A new label is no change of a number; the overflow's rows, which are gone at the source, are one.
    changed = shell("restatements", "ride", "--json").json
    assert {r["dimensions"]["zone"] for r in changed if r["reason"] == "new version"} == {"(other)"}
    for label, n in {"(not set)": 1, "(other)": 2, "\\(other)": 1}.items():
        found = shell("explain", "ride", f"{long_ago:%Y-%m-%dT%H:%MZ}", f"zone={label}", "--json").json
        told = {(v["dimensions"]["zone"], v["value"]) for v in found["values"] if v["measure"] == "n"}
        assert (found["version"], told) == (before.version, {(label, str(n))})
