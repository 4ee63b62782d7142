"""Panels in the style that all dashboards share, so that the module of one holds queries and little else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import bargauge, common, dashboard, stat, table, timeseries
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model

from dashboards.postgres import Sql, datasource

GREEN, AMBER, RED, BLUE, GREY = "green", "orange", "red", "blue", "#8e8e8e"
KRW, EXACT_KRW = "currencyKRW", "currency:financial:₩"
"""Shortened (₩1.2 M) for totals and axes; in full (₩1,234,567) where amounts are compared."""
CALM = BLUE
"""The colour of a plain quantity, which is neither good nor bad."""


@dataclass(frozen=True)
class Limits:
    """From `warn` on the value is amber, from `bad` on red; below green. With `rising=False` the other way round."""

    warn: float
    bad: float
    rising: bool = True

    def steps(self) -> list[tuple[float | None, str]]:
        """Grafana's steps, each `(from value, colour)`; None is minus infinity."""
        if self.rising:
            return [(None, GREEN), (self.warn, AMBER), (self.bad, RED)]
        return [(None, RED), (self.bad, AMBER), (self.warn, GREEN)]


def thresholds(limits: Limits | None) -> dashboard.ThresholdsConfig:
    """The thresholds of a panel; without limits everything is calm."""
    steps = limits.steps() if limits else [(None, CALM)]
    return (
        dashboard.ThresholdsConfig()
        .mode(model.ThresholdsMode.ABSOLUTE)
        .steps([model.Threshold(value=value, color=colour) for value, colour in steps])
    )


def prop(name: str, value: object) -> model.DynamicConfigValue:
    """One property of an override."""
    return model.DynamicConfigValue(name, value)


def colour(name: str) -> model.DynamicConfigValue:
    """A fixed colour, as an override."""
    return prop("color", {"mode": "fixed", "fixedColor": name})


def stat_tile(
    title: str,
    description: str,
    sql: str,
    *,
    unit: str,
    decimals: int | None = None,
    limits: Limits | None = None,
    total: bool = False,
    no_value: str = "–",
) -> stat.Panel:
    """One number. `total`: `sql` is a time series whose sum is shown before its course; else it gives one row."""
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(datasource())
        .with_target(Sql(sql, "time_series" if total else "table"))
        .unit(unit)
        .no_value(no_value)
        .thresholds(thresholds(limits))
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
        .color_mode(common_model.BigValueColorMode.VALUE)
        .graph_mode(common_model.BigValueGraphMode.AREA if total else common_model.BigValueGraphMode.NONE)
        .justify_mode(common_model.BigValueJustifyMode.AUTO)
        .text_mode(common_model.BigValueTextMode.VALUE)
        .orientation(common_model.VizOrientation.AUTO)
        .wide_layout(True)
        .reduce_options(common.ReduceDataOptions().calcs(["sum" if total else "lastNotNull"]).values(False))
        .span(4)
        .height(4)
    )
    return panel if decimals is None else panel.decimals(decimals)


def _chart(title: str, description: str, targets: Sequence[Sql], unit: str, calcs: Sequence[str]) -> timeseries.Panel:
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(datasource())
        .unit(unit)
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
        .thresholds(thresholds(None))
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(common_model.LegendDisplayMode.TABLE)
            .placement(common_model.LegendPlacement.BOTTOM)
            .calcs(list(calcs))
        )
        .tooltip(
            common.VizTooltipOptions()
            .mode(common_model.TooltipDisplayMode.MULTI)
            .sort(common_model.SortOrder.DESCENDING)
        )
        .interval("1m")
        .span(12)
        .height(9)
    )
    for target in targets:
        panel = panel.with_target(target)
    return panel


def bars(title: str, description: str, *targets: Sql, unit: str, stacked: bool = False) -> timeseries.Panel:
    """Quantities of each window. A window without rows is a gap, which a bar chart shows as the nothing that it is."""
    mode = common_model.StackingMode.NORMAL if stacked else common_model.StackingMode.NONE
    return (
        _chart(title, description, targets, unit, ["sum", "max"])
        .draw_style(common_model.GraphDrawStyle.BARS)
        .bar_alignment(common_model.BarAlignment.AFTER)  # a window starts at its time
        .fill_opacity(70)
        .line_width(0)
        .stacking(common.StackingConfig().mode(mode).group("A"))
        .axis_soft_min(0)
    )


def lines(
    title: str,
    description: str,
    *targets: Sql,
    unit: str,
    limit: float | None = None,
    calcs: Sequence[str] = ("lastNotNull", "max"),
    logarithmic: bool = False,
) -> timeseries.Panel:
    """Ratios and quantiles of each window; never summed or averaged over windows. `limit` draws a dashed line.

    `logarithmic` is for values some of which are a hundred times others.
    """
    panel = (
        _chart(title, description, targets, unit, calcs)
        .draw_style(common_model.GraphDrawStyle.LINE)
        .line_interpolation(common_model.LineInterpolation.LINEAR)
        .line_width(2)
        .fill_opacity(6)
        .show_points(common_model.VisibilityMode.AUTO)
        .point_size(4)
        .span_nulls(3 * 3600 * 1000)  # milliseconds: a longer silence is drawn as a gap
    )
    if logarithmic:
        scale = common.ScaleDistributionConfig().type(common_model.ScaleDistribution.LOG).log(10)
        panel = panel.scale_distribution(scale)
    else:
        panel = panel.axis_soft_min(0)
    if limit is None:
        return panel
    return panel.thresholds(thresholds(Limits(warn=limit, bad=limit))).thresholds_style(
        common.GraphThresholdsStyleConfig().mode(common_model.GraphThresholdsStyleMode.DASHED)
    )


PROVISIONAL_BAR = [
    prop("custom.fillOpacity", 20),
    prop("custom.lineWidth", 1),
    prop("custom.lineStyle", {"fill": "dash"}),
]
PROVISIONAL_LINE = [
    prop("custom.lineStyle", {"fill": "dash", "dash": [4, 6]}),
    prop("custom.fillOpacity", 0),
    prop("custom.showPoints", "always"),
]


def table_panel(
    title: str, description: str, sql: str, *, sort: str | None = None, descending: bool = True
) -> table.Panel:
    """Rows under columns; override a column by its name."""
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(datasource())
        .with_target(Sql(sql))
        .thresholds(thresholds(None))
        .cell_height(common_model.TableCellHeight.SM)
        .show_header(True)
        .no_value("–")
        .span(12)
        .height(9)
    )
    if sort is None:
        return panel
    return panel.sort_by([common.TableSortByFieldState().display_name(sort).desc(descending)])


NO_VALUE = prop(
    "mappings",
    [{"type": "special", "options": {"match": "null", "result": {"text": "–", "color": "transparent", "index": 0}}}],
)
"""Else Grafana colours a cell without a value like the best one."""


def coloured(limits: Limits) -> list[model.DynamicConfigValue]:
    """Cells whose background follows `limits`."""
    steps: list[Mapping[str, Any]] = [{"value": value, "color": name} for value, name in limits.steps()]
    return [
        prop("custom.cellOptions", {"type": "color-background", "mode": "basic"}),
        prop("color", {"mode": "thresholds"}),
        NO_VALUE,
        prop("thresholds", {"mode": "absolute", "steps": steps}),
    ]


def gauge_cell() -> list[model.DynamicConfigValue]:
    """Cells that hold a bar from 0 to 100 %, for shares."""
    return [
        prop("custom.cellOptions", {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}),
        prop("unit", "percentunit"),
        prop("decimals", 1),
        prop("min", 0),
        prop("max", 1),
        colour(CALM),
    ]


def number(unit: str, decimals: int | None = None) -> list[model.DynamicConfigValue]:
    """A column's unit."""
    found = [prop("unit", unit)]
    return found if decimals is None else [*found, prop("decimals", decimals)]


def filter_link(board_uid: str, variable: str, what: str) -> model.DynamicConfigValue:
    """A click on a cell narrows the dashboard to the cell's value, keeping the time range."""
    url = f"/d/{board_uid}?${{__url_time_range}}&var-{variable}=${{__value.raw:percentencode}}"
    return prop("links", [{"title": f"Only this {what}", "url": url, "targetBlank": False}])


def ranking(title: str, description: str, sql: str, *, unit: str, decimals: int | None = None) -> bargauge.Panel:
    """Rows of (name, number) as horizontal bars, in the order of the query."""
    panel = (
        bargauge.Panel()
        .title(title)
        .description(description)
        .datasource(datasource())
        .with_target(Sql(sql))
        .unit(unit)
        .min(0)
        .no_value("–")
        .thresholds(thresholds(None))
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.FIXED).fixed_color(CALM))
        .display_mode(common_model.BarGaugeDisplayMode.BASIC)
        .value_mode(common_model.BarGaugeValueMode.TEXT)
        .name_placement(common_model.BarGaugeNamePlacement.LEFT)
        .orientation(common_model.VizOrientation.HORIZONTAL)
        .show_unfilled(True)
        .sizing(common_model.BarGaugeSizing.AUTO)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(True))
        .span(8)
        .height(9)
    )
    return panel if decimals is None else panel.decimals(decimals)
