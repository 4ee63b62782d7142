"""What all dashboards share: the grain that follows the time range, filters, links, the mark on provisional windows."""

# ruff: noqa: S608 - queries are put together from this package's constants; nothing that a viewer types is among them

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import dedent
from typing import Literal

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model

from dashboards.buckets import BUCKET, bucket_variable
from dashboards.postgres import datasource

TIMEZONE = "Asia/Seoul"
"""Days are the metrics' days; in the browser's zone a day's row would stand at an odd hour."""
TAG = "fleetgauge"

# Half an hour or half a day above the round number, since "last 12 hours" lasts some milliseconds longer.
# Coarser still where that grain's rows have expired at the beginning of the range.
GRAIN_SQL = """
SELECT fleetgauge.range_grain(CASE
  WHEN wish = 'minute' AND hours <= 48.5 THEN 'minute'
  WHEN wish IN ('minute', 'hour') AND hours <= 92.5 * 24 THEN 'hour'
  WHEN wish <> 'auto' THEN 'day'
  WHEN hours <= 12.5 THEN 'minute'
  WHEN hours <= 31.5 * 24 THEN 'hour'
  ELSE 'day'
END, $__timeFrom()::timestamptz, METRICS) AS grain
FROM (SELECT ${resolution:sqlstring} AS wish, (${__to} - ${__from}) / 3600000.0 AS hours) AS asked
"""


@dataclass(frozen=True)
class Filter:
    """A dimension that viewers may narrow; its values are those of the day view, of the last 30 days at least."""

    column: str
    label: str
    view: str

    def variable(self) -> dashboard.QueryVariable:
        """Several values or All.

        All is written into the query as the column's own name: `column IN (column)` is true for each row, also for
        values that came up after the page was loaded, and is valid SQL while there are no values at all.
        """
        sql = f"""
            SELECT DISTINCT {self.column} FROM metrics.{self.view}_day
            WHERE window_start BETWEEN least($__timeFrom()::timestamptz, now() - interval '30 days') - interval '1 day'
              AND $__timeTo()::timestamptz
            ORDER BY 1"""
        return (
            dashboard.QueryVariable(self.column)
            .label(self.label)
            .datasource(datasource())
            .query(dedent(sql).strip())
            .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(model.VariableSort.DISABLED)
            .multi(True)
            .include_all(True)
            .all_value(self.column)
            .allow_custom_value(False)
            .current(model.VariableOption(text=["All"], value=["$__all"], selected=True))
        )


def where(filters: Sequence[Filter]) -> str:
    """The condition of a query that follows `filters`."""
    return " AND ".join([*(f"{f.column} IN (${{{f.column}:sqlstring}})" for f in filters)] or ["true"])


Per = Literal["bucket", "sample", "each", "range"]
"""What rows are put together to: points that sum, points that are shares or quantiles (`each`: of several series), or
one number over the range."""


def of_range(stem: str, per: Per = BUCKET) -> str:
    """What stands in FROM: the rows of the time range, exact to the minute; `stem`: the view without its grain.

    For a chart they lie in buckets, of which the first and the last hold only what lies in the range. For one number
    over the range none are needed, so days are read in the middle.
    """
    bucket = "" if per == "range" else f", '${{{per}}}'"
    return f"metrics.{stem}_range($__timeFrom(), $__timeTo(){bucket})"


def filter_link(board_uid: str, variable: str, title: str, filters: Sequence[Filter]) -> model.DynamicConfigValue:
    """A click on a cell sets a variable to its value, keeping the time range, the grain and all other filters."""
    others = ["resolution", *(one.column for one in filters if one.column != variable)]
    kept = "".join(f"&${{{name}:queryparam}}" for name in others)
    url = f"/d/{board_uid}?${{__url_time_range}}{kept}&var-{variable}=${{__value.raw:percentencode}}"
    return model.DynamicConfigValue(id_val="links", value=[{"title": title, "url": url, "targetBlank": False}])


def stretch(metric: str) -> str:
    """What is written behind the title of a panel that sums over the range: nothing, or which stretch it sums.

    That is another one where finer rows have expired, so that a cut hour or day is read as a whole.
    """
    return f"${{stretch_{metric}}}"


def stretch_variable(metric: str) -> dashboard.QueryVariable:
    """Finds what `stretch` writes."""
    return (
        dashboard.QueryVariable(f"stretch_{metric}")
        .hide(model.VariableHide.HIDE_VARIABLE)
        .description("The stretch that is summed, where finer rows have expired at an edge of the range; else nothing.")
        .datasource(datasource())
        .query(f"SELECT fleetgauge.range_said('{metric}', $__timeFrom(), $__timeTo())")
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(False)
        .include_all(False)
        .current(model.VariableOption(text="", value="", selected=True))
    )


def final_until(view: str, metric: str) -> str:
    """SQL of the instant (milliseconds) up to which every window of the range is final.

    `view`: of the metric's, one with few rows. Windows without rows are final too, which the ledger alone knows; where
    it ends at a gap before the range, such as a blocked cell, the rows say how far the range itself is final.
    """
    return f"""
        WITH windows AS (
          SELECT window_start + ('1 ' || window_grain)::interval AS window_end, window_start, provisional
          FROM {of_range(view)}
        ), open AS (
          SELECT coalesce(min(window_start), 'infinity') AS since FROM windows WHERE provisional
        ), final AS (
          SELECT since, coalesce(known.final_until,
            (SELECT max(window_end) FROM windows WHERE NOT provisional AND window_start < since)) AS upto
          FROM open LEFT JOIN metrics.metric AS known
            ON name = '{metric}' AND known.final_until > $__timeFrom()::timestamptz
        )
        SELECT extract(epoch FROM least(upto, since, $__timeTo()::timestamptz)) * 1000 AS "final until"
        FROM final WHERE upto IS NOT NULL"""


Panels = Sequence[Builder[model.Panel]]


def filled(found: dashboard.Dashboard, rows: Sequence[tuple[str, Panels]]) -> dashboard.Dashboard:
    """The dashboard with its titled rows."""
    for title, panels in rows:
        found = found.with_row(dashboard.Row(title))
        for panel in panels:
            found = found.with_panel(panel)
    return found


def new_dashboard(
    uid: str, title: str, description: str, tags: Sequence[str], filters: Sequence[Filter], metrics: Sequence[str]
) -> dashboard.Dashboard:
    """An empty dashboard with its variables and its link to the other dashboards; `metrics`: those that it reads."""
    resolution = (
        dashboard.CustomVariable("resolution")
        .label("Grain")
        .description(
            "auto: read minutes up to 12 hours, hours up to a month, else days, and merge them to 200 points at most. "
            "Coarser than wished where it is too much."
        )
        .values("auto,minute,hour,day")
        .multi(False)
        .include_all(False)
        .allow_custom_value(False)
        .current(model.VariableOption(text="auto", value="auto", selected=True))
    )
    grain = (
        dashboard.QueryVariable("grain")
        .hide(model.VariableHide.HIDE_VARIABLE)
        .description("The grain in use: the last part of the names of the views that are read.")
        .datasource(datasource())
        .query(GRAIN_SQL.strip().replace("METRICS", ", ".join(f"'{name}'" for name in metrics)))
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(False)
        .include_all(False)
        .current(model.VariableOption(text="hour", value="hour", selected=True))
    )
    link = (
        dashboard.DashboardLink("fleetgauge dashboards")
        .type(model.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .icon("dashboard")
        .as_dropdown(True)
        .keep_time(True)
        .include_vars(True)
        .target_blank(False)
    )
    found = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG, *tags])
        .timezone(TIMEZONE)
        .week_start("monday")
        .readonly()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .time("now-3d", "now")
        .refresh("1m")
        .link(link)
        .with_variable(resolution)
        .with_variable(grain)
        .with_variable(bucket_variable())
    )
    for metric in metrics:
        found = found.with_variable(stretch_variable(metric))
    for one in filters:
        found = found.with_variable(one.variable())
    return found
