"""Variables and macros are replaced as Grafana replaces them."""

from datetime import UTC, datetime
from typing import Any

import pytest
from dashboards.queries import DashboardError, dashboard_queries, expand, panel_queries

FROM = datetime(2025, 3, 1, 15, 0, 0, 250_000, tzinfo=UTC)
TO = datetime(2025, 3, 2, tzinfo=UTC)
KNOWN: dict[str, dict[str, Any]] = {
    "zone": {"multi": True, "includeAll": True, "allValue": "zone", "current": {"value": ["$__all"]}},
    "firmware": {"multi": True, "includeAll": True, "current": {"value": ["$__all"]}},
    "grain": {"multi": False, "includeAll": False, "current": {"value": "hour"}},
}


@pytest.mark.parametrize(
    ("raw", "variables", "wanted"),
    [
        ("metrics.rental_${grain}", {}, "metrics.rental_hour"),
        ("metrics.rental_$grain", {"grain": "day"}, "metrics.rental_day"),
        ("zone IN (${zone:sqlstring})", {}, "zone IN (zone)"),
        ("zone IN (${zone:sqlstring})", {"zone": ["a", "b"]}, "zone IN ('a','b')"),
        ("zone IN (${zone:sqlstring})", {"zone": "o'neil"}, "zone IN ('o''neil')"),
        ("zone IN ($zone)", {"zone": ["a", "o'b"]}, "zone IN ('a','o''b')"),
        ("'$grain'", {"grain": "o'b"}, "'o''b'"),
        ("${__from} $__to", {}, "1740841200250 1740873600000"),
        (
            "$__timeFilter(window_start)",
            {},
            "window_start BETWEEN '2025-03-01T15:00:00.25Z' AND '2025-03-02T00:00:00Z'",
        ),
        ("$__timeFrom()::timestamptz", {}, "'2025-03-01T15:00:00.25Z'::timestamptz"),
        ("$__timeTo()", {}, "'2025-03-02T00:00:00Z'"),
        ("$__timeGroup(t, '5m')", {}, "floor(extract(epoch from t)/300)*300"),
        ("$__timeGroupAlias(t, 1h)", {}, 'floor(extract(epoch from t)/3600)*3600 AS "time"'),
        ("$__time(t)", {}, 't AS "time"'),
    ],
)
def test_expands_as_grafana_does(raw: str, variables: dict[str, Any], wanted: str) -> None:
    assert expand(raw, KNOWN, variables, FROM, TO) == wanted


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("$__timefilter(t)", "unknown macro '__timefilter'"),
        ("metrics.rental_$grian", r"\$grian is neither a variable of the dashboard nor a macro"),
        ("${grain:regex}", "the format regex is not supported"),
        ("${firmware:sqlstring}", "variable firmware has no value for All"),
        ("$__timeGroup(t)", "needs a column and an interval"),
    ],
)
def test_refuses_what_grafana_would_refuse(raw: str, message: str) -> None:
    with pytest.raises(DashboardError, match=message):
        expand(raw, KNOWN, {}, FROM, TO)


def test_an_unknown_variable_is_named(dashboard: dict[str, Any]) -> None:
    with pytest.raises(DashboardError, match="has no variable grian"):
        dashboard_queries(dashboard, {"grian": "hour"}, FROM, TO)


def test_every_target_is_found(dashboard: dict[str, Any]) -> None:
    targets = sum("rawSql" in target for panel in dashboard["panels"] for target in panel.get("targets", []))
    found = panel_queries(dashboard, {}, FROM, TO)
    assert len(found) == targets > 10
    everything = dashboard_queries(dashboard, {}, FROM, TO)
    assert {query.kind for query in everything} == {"panel", "variable", "annotation"}
