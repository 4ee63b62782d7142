"""What dashboards on Prometheus share. Colours and legends are those of `dashboards.panels`."""

from collections.abc import Sequence

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model

from dashboards.frame import TAG
from dashboards.panels import Limits, thresholds
from dashboards.prometheus import datasource, value

HALF, THIRD = 12, 8
"""Widths of panels; a dashboard is 24 wide."""


def monitoring_dashboard(uid: str, title: str, description: str, tags: Sequence[str]) -> dashboard.Dashboard:
    """An empty dashboard in the viewer's own time zone: instants matter here, not days."""
    link = (
        dashboard.DashboardLink("fleetgauge dashboards")
        .type(model.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .icon("dashboard")
        .as_dropdown(True)
        .keep_time(True)
        .include_vars(False)
        .target_blank(False)
    )
    return (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG, *tags])
        .timezone("browser")
        .readonly()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .time("now-6h", "now")
        .refresh("30s")
        .link(link)
    )


def tile(
    title: str,
    description: str,
    expr: str,
    *,
    unit: str,
    limits: Limits | None = None,
    decimals: int | None = None,
    no_value: str = "no data",
    span: int = 4,
) -> stat.Panel:
    """One number, coloured by its limits."""
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(datasource())
        .with_target(value(expr))
        .unit(unit)
        .no_value(no_value)
        .thresholds(thresholds(limits))
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
        .color_mode(common_model.BigValueColorMode.VALUE)
        .graph_mode(common_model.BigValueGraphMode.NONE)
        .justify_mode(common_model.BigValueJustifyMode.AUTO)
        .text_mode(common_model.BigValueTextMode.VALUE)
        .wide_layout(True)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        .span(span)
        .height(4)
    )
    return panel if decimals is None else panel.decimals(decimals)


def chart(
    title: str,
    description: str,
    *queries: prometheus.Dataquery,
    unit: str,
    stacked: bool = False,
    limit: float | None = None,
    ceiling: float | None = None,
    span: int = HALF,
) -> timeseries.Panel:
    """Lines over time; `stacked`: areas that add up. `limit` draws a dashed line where an alert fires."""
    mode = common_model.StackingMode.NORMAL if stacked else common_model.StackingMode.NONE
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(datasource())
        .unit(unit)
        .no_value("no data")
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
        .thresholds(thresholds(Limits(warn=limit, bad=limit) if limit is not None else None))
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(common_model.LegendDisplayMode.LIST)
            .placement(common_model.LegendPlacement.BOTTOM)
        )
        .tooltip(
            common.VizTooltipOptions()
            .mode(common_model.TooltipDisplayMode.MULTI)
            .sort(common_model.SortOrder.DESCENDING)
        )
        .draw_style(common_model.GraphDrawStyle.LINE)
        .line_width(1)
        .fill_opacity(40 if stacked else 0)
        .show_points(common_model.VisibilityMode.NEVER)
        .span_nulls(False)
        .stacking(common.StackingConfig().mode(mode).group("A"))
        .axis_soft_min(0)
        .span(span)
        .height(8)
    )
    for query in queries:
        panel = panel.with_target(query)
    if ceiling is not None:
        panel = panel.max(ceiling)
    if limit is None:
        return panel
    return panel.thresholds_style(
        common.GraphThresholdsStyleConfig().mode(common_model.GraphThresholdsStyleMode.DASHED)
    )


def rows(title: str, description: str, expr: str, columns: Sequence[tuple[str, str]], *, unit: str) -> table.Panel:
    """The series of `expr` that are there now; `columns`: label and heading, the value comes last as "Value"."""
    hidden = {"Time": True, "__name__": True, "instance": True, "job": True}
    order = {label: number for number, (label, _) in enumerate([*columns, ("Value", "")])}
    return (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(datasource())
        .with_target(value(expr))
        .unit(unit)
        .thresholds(thresholds(None))
        .cell_height(common_model.TableCellHeight.SM)
        .show_header(True)
        .no_value("nothing")
        .transformations(
            [
                model.DataTransformerConfig(
                    id_val="organize",
                    options={"excludeByName": hidden, "indexByName": order, "renameByName": dict(columns)},
                )
            ]
        )
        .span(HALF)
        .height(8)
    )
