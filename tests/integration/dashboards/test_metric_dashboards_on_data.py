"""Whatever is narrowed and split by: the smaller view that a metric's dashboard chooses gives the same numbers."""

import json
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from dashboard_world import Filled
from dashboards.build import CONTENT, dashboard_json
from dashboards.definitions import metric
from dashboards.queries import dashboard_queries, may_be_empty, panel_queries

from fleetgauge import postgres
from fleetgauge.rollup import load_definitions

CHOICES: list[tuple[str, str, dict[str, int], str]] = [
    ("rental", "zone", {}, "rental_by_zone_"),
    ("rental", "vehicle_model", {}, "rental_by_model_"),
    ("rental", "zone", {"zone": 2}, "rental_by_zone_"),
    ("rental", "zone", {"vehicle_model": 1}, "rental_"),
    ("vehicle_state", "nothing", {}, "vehicle_state_total_"),
    ("vehicle_state", "vehicle_state", {}, "vehicle_state_by_state_"),
    ("device_command", "command_type", {}, "device_command_by_command_"),
    ("device_command", "firmware", {"command_type": 1}, "device_command_by_firmware_"),
]


@pytest.mark.parametrize("grain", ["hour", "day"])
@pytest.mark.parametrize(("name", "by", "narrowed", "stem"), CHOICES)
def test_a_smaller_view_says_the_same(
    filled: Filled, grain: str, name: str, by: str, narrowed: dict[str, int], stem: str
) -> None:
    dashboard = dashboard_json(*metric.build(load_definitions(CONTENT)[name]))
    since = filled.now - timedelta(days=10)
    with psycopg.connect(filled.grafana_url, autocommit=True) as grafana:
        chosen: dict[str, Any] = {"grain": grain, "by": by}
        plain = dashboard_queries(dashboard, chosen, since, filled.now)
        for variable, count in narrowed.items():
            values = grafana.execute(next(q.sql for q in plain if q.name == variable)).fetchall()
            chosen[variable] = [value for (value,) in values[:count]]
        queries = dashboard_queries(dashboard, chosen, since, filled.now)
        assert grafana.execute(next(q.sql for q in queries if q.name == "stem")).fetchall() == [(stem,)]
        smaller = panel_queries(dashboard, {**chosen, "stem": stem}, since, filled.now)
        whole = panel_queries(dashboard, {**chosen, "stem": f"{name}_"}, since, filled.now)
        assert len(smaller) == len(whole) > 1
        for one, other in zip(smaller, whole, strict=True):
            rows = grafana.execute(one.sql).fetchall()
            assert rows or one.name in may_be_empty(dashboard), one.name
            assert rows == grafana.execute(other.sql).fetchall(), one.name


@pytest.mark.parametrize("grain", ["hour", "day"])
@pytest.mark.parametrize(("uid", "smaller"), [("fleetgauge-service", 2), ("fleetgauge-commands", 3)])
def test_dashboards_written_by_hand_say_the_same_from_subsets(
    filled: Filled, grain: str, uid: str, smaller: int
) -> None:
    dashboard = json.loads((CONTENT / "dashboards" / "generated" / f"{uid}.json").read_text("utf-8"))
    since = filled.now - timedelta(days=10)
    with psycopg.connect(filled.grafana_url, autocommit=True) as grafana:
        stems: dict[str, Any] = {}
        for query in dashboard_queries(dashboard, {"grain": grain}, since, filled.now):
            if query.kind == "variable" and query.name.startswith("stem"):
                ((stems[query.name],),) = grafana.execute(query.sql).fetchall()
        assert sum("_by_" in stem for stem in stems.values()) >= smaller, stems
        less = panel_queries(dashboard, {"grain": grain, **stems}, since, filled.now)
        whole = panel_queries(dashboard, {"grain": grain}, since, filled.now)
        assert [one.sql for one in less] != [one.sql for one in whole]
        for one, other in zip(less, whole, strict=True):
            rows = sorted(map(str, grafana.execute(one.sql).fetchall()))  # of equal values, any may come first
            assert rows == sorted(map(str, grafana.execute(other.sql).fetchall())), one.name


def test_a_gap_before_the_range_does_not_hide_how_far_the_range_is_final(filled: Filled) -> None:
    """The ledger ends at a cell that is blocked; windows behind it are final all the same, and the page says so."""
    dashboard = dashboard_json(*metric.build(load_definitions(CONTENT)["rental"]))
    gap = filled.now - timedelta(days=4)
    queries = dashboard_queries(dashboard, {"grain": "hour"}, filled.now - timedelta(days=2), filled.now)
    shaded, until = (
        next(query.sql for query in queries if query.name == name) for name in ("Provisional", "Final until")
    )
    with (
        postgres.metrics(filled.settings.metrics).connect("test") as connection,
        connection.transaction(force_rollback=True),
    ):
        regions, ((final,),) = (connection.execute(sql).fetchall() for sql in (shaded, until))
        connection.execute(
            "UPDATE fleetgauge.ledger SET closed = closed - tstzmultirange(tstzrange(%s, %s)) WHERE metric = 'rental'",
            [gap, gap + timedelta(minutes=1)],
        )
        known = connection.execute("SELECT final_until FROM metrics.metric WHERE name = 'rental'").fetchall()
        assert known == [(gap,)]
        assert regions and connection.execute(shaded).fetchall() == regions
        ((by_rows,),) = connection.execute(until).fetchall()
        assert final - 86_400_000 < by_rows <= final, "the last row before what is open ends a little earlier"
