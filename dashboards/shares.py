"""Shares over time, with how sure each is: a point of few events is drawn as such, and all have their interval."""

# ruff: noqa: S608 - queries are put together from this package's constants; nothing that a viewer types is among them

from grafana_foundation_sdk.builders import timeseries

from dashboards.buckets import EVENTS
from dashboards.panels import GREY, HALF, PROVISIONAL_LINE, colour, lines, prop
from dashboards.postgres import Sql

FEW = f"too few (n < {EVENTS})"
"""A series: points of fewer events, which are drawn faint."""
LOW, HIGH = "95 % from", "95 % to"
FEW_POINTS = [
    colour(GREY),
    prop("custom.drawStyle", "points"),
    prop("custom.pointSize", 3),
    prop("custom.showPoints", "always"),
    prop("custom.hideFrom", {"legend": False, "tooltip": False, "viz": False}),
]


def share_chart(
    title: str, description: str, rows: str, part: str, whole: str, name: str, shade: str, *, span: int = HALF
) -> timeseries.Panel:
    """`part / whole` of each point of `rows`, both SQL of counts; provisional points dashed, those of few events faint.

    The band is Wilson's interval, in which the true share lies 95 times of 100; provisional points, which are no sample
    of what they will be, have none.
    """
    sql = f"""
        WITH point AS (
          SELECT bucket_start, bool_or(provisional) AS provisional, {part} AS part, {whole} AS whole
          FROM {rows} GROUP BY 1
        ), known AS (
          SELECT *, part::float8 / nullif(whole, 0) AS share,
            provisional OR lead(provisional) OVER (ORDER BY bucket_start) AS dashed
          FROM point CROSS JOIN LATERAL fleetgauge.wilson(part, whole) AS sure
        )
        SELECT bucket_start AS "time",
          CASE WHEN NOT provisional AND whole >= {EVENTS} THEN share END AS "{name}",
          CASE WHEN dashed AND whole >= {EVENTS} THEN share END AS "provisional",
          CASE WHEN whole < {EVENTS} THEN share END AS "{FEW}",
          CASE WHEN NOT provisional THEN low END AS "{LOW}", CASE WHEN NOT provisional THEN high END AS "{HIGH}"
        FROM known ORDER BY 1"""
    band = [colour(shade), prop("custom.lineWidth", 0), prop("custom.showPoints", "never")]
    hidden = prop("custom.hideFrom", {"legend": True, "tooltip": False, "viz": False})
    return (
        lines(title, description, Sql(sql, "time_series"), unit="percentunit", span=span)
        .override_by_name(name, [colour(shade)])
        .override_by_name("provisional", [colour(shade), *PROVISIONAL_LINE])
        .override_by_name(FEW, FEW_POINTS)
        .override_by_name(LOW, [*band, hidden])
        .override_by_name(HIGH, [*band, hidden, prop("custom.fillBelowTo", LOW), prop("custom.fillOpacity", 14)])
    )


_FEW_OF = "◦ "
"""Begins the name of a series of such points. It sorts behind letters, so that these take no colour from the others."""


def told_apart(series: str, events: str) -> str:
    """SQL of a series' name: its own, or where its point has few events, one that is drawn faint."""
    return f"CASE WHEN {events} < {EVENTS} THEN '{_FEW_OF}' || {series} || ' (n < {EVENTS})' ELSE {series} END"


def with_few(panel: timeseries.Panel) -> timeseries.Panel:
    """The panel with such series drawn faint; a legend would name each line twice."""
    hidden = prop("custom.hideFrom", {"legend": True, "tooltip": False, "viz": False})
    return panel.override_by_regexp(f"/^{_FEW_OF}/", [*FEW_POINTS[:-1], hidden])
