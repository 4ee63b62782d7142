"""What all dashboards share: the grain that follows the time range, filters, links, the mark on provisional windows."""

# ruff: noqa: S608 - queries are put together from this package's constants; nothing that a viewer types is among them

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import dedent

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model

from dashboards.postgres import DATASOURCE_UID, PLUGIN, datasource

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


def of_range(stem: str, *, whole: bool = False) -> str:
    """What stands in FROM: the rows of the time range, exact to the minute; `stem`: the view without its grain.

    For a chart they lie in buckets of the grain in use, of which the first and the last hold only what lies in the
    range; `whole`: for one number over the range, which needs no buckets, so that days are read in the middle.
    """
    grain = "" if whole else ", '${grain}'"
    return f"metrics.{stem}_range($__timeFrom(), $__timeTo(){grain})"


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


def final_until(view: str) -> str:
    """SQL of the instant (milliseconds) up to which every window of the range is final."""
    return f"""
        WITH windows AS (
          SELECT window_start + ('1 ' || window_grain)::interval AS window_end, window_start, provisional
          FROM {of_range(view)}
        )
        SELECT extract(epoch FROM max(window_end)) * 1000 AS "final until"
        FROM windows
        WHERE NOT provisional
          AND window_start < coalesce((SELECT min(window_start) FROM windows WHERE provisional), 'infinity')"""


def provisional_sql(view: str) -> str:
    """SQL of the regions to shade: unbroken runs of windows that may still change."""
    sql = f"""
        WITH windows AS (
          SELECT bucket_start, bool_or(provisional) AS provisional FROM {of_range(view)} GROUP BY bucket_start
        ), runs AS (
          SELECT bucket_start, provisional,
            row_number() OVER (ORDER BY bucket_start)
              - row_number() OVER (PARTITION BY provisional ORDER BY bucket_start) AS run
          FROM windows
        )
        SELECT min(bucket_start) AS "time",
          least(max(bucket_start) + interval '1 ${{grain}}', $__timeTo()::timestamptz) AS "timeEnd",
          'Provisional: these windows may still change' AS "text"
        FROM runs WHERE provisional GROUP BY run ORDER BY 1"""
    return dedent(sql).strip()


def provisional_annotation(view: str) -> dict[str, object]:
    """The shading as an annotation; plain JSON, since the SDK's annotation target knows no SQL."""
    source = {"type": PLUGIN, "uid": DATASOURCE_UID}
    return {
        "name": "Provisional",
        "datasource": source,
        "enable": True,
        "hide": False,
        "iconColor": "rgba(142, 142, 142, 0.6)",
        "target": {
            "refId": "Provisional",
            "datasource": source,
            "editorMode": "code",
            "format": "table",
            "rawQuery": True,
            "rawSql": provisional_sql(view),
        },
    }


Panels = Sequence[Builder[model.Panel]]


def filled(found: dashboard.Dashboard, tiles: Panels, rows: Sequence[tuple[str, Panels]]) -> dashboard.Dashboard:
    """The dashboard with its tiles on top and its titled rows below."""
    for tile in tiles:
        found = found.with_panel(tile)
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
            "auto: minutes up to 12 hours, hours up to a month, else days. Coarser than wished where it is too much."
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
        .as_dropdown(False)
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
    )
    for metric in metrics:
        found = found.with_variable(stretch_variable(metric))
    for one in filters:
        found = found.with_variable(one.variable())
    return found
