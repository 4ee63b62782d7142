"""Panels in the style that all dashboards share, so that the module of one holds queries and little else."""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import (
    barchart,
    bargauge,
    common,
    dashboard,
    prometheus,
    stat,
    statushistory,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model

from dashboards.postgres import Sql
from dashboards.postgres import datasource as postgres_source
from dashboards.prometheus import datasource as prometheus_source

GREEN, AMBER, RED, BLUE, GREY = "green", "orange", "red", "blue", "#8e8e8e"
KRW, EXACT_KRW = "currencyKRW", "currency:financial:₩"
"""Shortened (₩1.2 M) for totals and axes; in full (₩1,234,567) where amounts are compared."""
MINUTES, SECONDS, KILOMETRES, HOURS = "suffix:min", "suffix:s", "suffix:km", "suffix:h"
"""Of fixed scale, so that an axis reads 5, 10, 15 min; Grafana's own would write 8.33 and 16.7 mins, or 15.7 Mm."""
CLOCK = "dthms"
"""From seconds to hours, as 00:16:40."""
HALF, THIRD, FULL = 12, 8, 24
"""Widths of panels; a dashboard is 24 wide."""
COLOURS = 6
"""So many series have colours that differ: of Grafana's palette the seventh is the first again, a little darker."""
OTHERS = "all others"
"""The series of those that have none of their own."""
CALM = BLUE
"""The colour of a plain quantity, which is neither good nor bad."""


@dataclass(frozen=True)
class Limits:
    """From `warn` on the value is amber, from `bad` on red; below green. With `rising=False` the other way round.

    No value, which Grafana colours like the lowest, is grey: that nothing is known is neither good nor bad.
    """

    warn: float
    bad: float
    rising: bool = True

    def steps(self) -> list[tuple[float | None, str]]:
        """Grafana's steps, each `(from value, colour)`; None is minus infinity."""
        if self.rising:
            return [(None, GREY), (0, GREEN), (self.warn, AMBER), (self.bad, RED)]
        return [(None, GREY), (0, RED), (self.bad, AMBER), (self.warn, GREEN)]


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


Query = Sql | prometheus.Dataquery


def _source(query: Query) -> model.DataSourceRef:
    return postgres_source() if isinstance(query, Sql) else prometheus_source()


def tile(
    title: str,
    description: str,
    query: Query,
    *,
    unit: str = "locale",
    decimals: int | None = None,
    limits: Limits | None = None,
    no_value: str = "–",
    span: int = 4,
    link: str | None = None,
) -> stat.Panel:
    """One number: a count, unless a unit is said. Of SQL that is a time series the sum is shown before its course.

    `link`: uid of what is behind it.
    """
    total = isinstance(query, Sql) and query.format == "time_series"
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(_source(query))
        .with_target(query)
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
        .span(span)
        .height(4)
    )
    if link is not None:
        behind = dashboard.DashboardLink("What is behind it").type(model.DashboardLinkType.LINK)
        panel = panel.data_links([behind.url(f"/d/{link}?${{__url_time_range}}")])
    whole = 0 if unit == "locale" and decimals is None else decimals
    return panel if whole is None else panel.decimals(whole)


_LEAST_AXIS = {
    "locale": 1,
    "percentunit": 0.01,
    "percent": 1,
    **dict.fromkeys(("eps", "ops", "recps", "wps", "iops", "reqps"), 0.1),
}
"""Up to where an axis of nothing goes, by its unit; Grafana's goes to 100, of a share to 10,000 %."""


def _legend() -> common.VizLegendOptions:
    """A list takes the lines that it needs, where a table would show three rows of eight."""
    return (
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(common_model.LegendDisplayMode.LIST)
        .placement(common_model.LegendPlacement.BOTTOM)
    )


def _chart(title: str, description: str, queries: Sequence[Query], unit: str, span: int) -> timeseries.Panel:
    """Colours follow the order of the series, since by name two may get nearly the same one."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(_source(queries[0]))
        .unit(unit)
        .no_value("no data")
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC))
        .thresholds(thresholds(None))
        .legend(_legend())
        .tooltip(
            common.VizTooltipOptions()
            .mode(common_model.TooltipDisplayMode.MULTI)
            .sort(common_model.SortOrder.DESCENDING)
        )
        .interval("1m" if isinstance(queries[0], Sql) else "15s")
        .span(span)
        .height(8)
    )
    for query in queries:
        panel = panel.with_target(query)
    return panel.axis_soft_max(_LEAST_AXIS[unit]) if unit in _LEAST_AXIS else panel


def bars(
    title: str, description: str, *queries: Query, unit: str, stacked: bool = False, span: int = HALF
) -> timeseries.Panel:
    """Quantities of each window. A window without rows is a gap, which a bar chart shows as the nothing that it is."""
    mode = common_model.StackingMode.NORMAL if stacked else common_model.StackingMode.NONE
    panel = _chart(title, description, queries, unit, span)
    if unit == "locale":
        panel = panel.decimals(0)  # no axis that counts in halves
    return (
        panel.draw_style(common_model.GraphDrawStyle.BARS)
        .bar_alignment(common_model.BarAlignment.AFTER)  # a window starts at its time
        .fill_opacity(70)
        .line_width(0)
        .stacking(common.StackingConfig().mode(mode).group("A"))
        .axis_soft_min(0)
    )


def day_bars(title: str, description: str, query: Sql, *, span: int = HALF) -> barchart.Panel:
    """Rows of (day, count), of days that may lie outside of the time range: an axis of time would not show them."""
    return (
        barchart.Panel()
        .title(title)
        .description(description)
        .datasource(_source(query))
        .with_target(query)
        .unit("locale")
        .decimals(0)
        .no_value("none")
        .thresholds(thresholds(None))
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.FIXED).fixed_color(CALM))
        .legend(common.VizLegendOptions().show_legend(False))
        .show_value(common_model.VisibilityMode.NEVER)
        .fill_opacity(70)
        .line_width(0)
        .axis_soft_min(0)
        .x_tick_label_spacing(50)
        .x_tick_label_max_length(10)  # 0, if nothing is said: every label is cut
        .span(span)
        .height(8)
    )


def lines(
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    limit: float | None = None,
    ceiling: float | None = None,
    logarithmic: bool = False,
    stacked: bool = False,
    trouble: bool = False,
    span: int = HALF,
) -> timeseries.Panel:
    """Values over time. `limit` draws a dashed line where an alert fires; `stacked`: areas that add up; `trouble`: all
    of it is bad, and nothing is green.

    From SQL they are shares and quantiles of windows, so a line bridges windows without events, up to three hours; what
    Prometheus lacks was not scraped, and is a gap. `logarithmic`: some values are a hundred times others.
    """
    of_windows = isinstance(queries[0], Sql)
    panel = (
        _chart(title, description, queries, unit, span)
        .draw_style(common_model.GraphDrawStyle.LINE)
        .line_interpolation(common_model.LineInterpolation.LINEAR)
        .line_width(0 if stacked else 2 if of_windows else 1)  # the line of an area of nothing would frame all below
        .fill_opacity(70 if stacked else 0)
        .show_points(common_model.VisibilityMode.AUTO if of_windows else common_model.VisibilityMode.NEVER)
        .point_size(4)
        .span_nulls(3 * 3600 * 1000 if of_windows else False)  # milliseconds
    )
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(common_model.StackingMode.NORMAL).group("A"))
    if logarithmic:
        scale = common.ScaleDistributionConfig().type(common_model.ScaleDistribution.LOG).log(10)
        panel = panel.scale_distribution(scale)
    elif not unit.startswith("dateTime"):
        panel = panel.axis_soft_min(0)
    if trouble:
        panel = panel.color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.SHADES).fixed_color(RED))
    if ceiling is not None:
        panel = panel.max(ceiling)
    if limit is None:
        return panel
    steps = [model.Threshold(value=None, color="transparent"), model.Threshold(value=limit, color=RED)]
    at_limit = dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)
    return panel.thresholds(at_limit).thresholds_style(
        common.GraphThresholdsStyleConfig().mode(common_model.GraphThresholdsStyleMode.DASHED)
    )


def shades(
    title: str, description: str, query: Sql, *, unit: str, steps: Sequence[float], few: str, span: int = HALF
) -> statushistory.Panel:
    """A row for each series, whose cells are the darker the higher they are: for series that would cross as lines.

    `steps`: from which value on a cell is a shade darker, four at most. A cell of -1 is of too few events: it is grey,
    and says `few`.
    """
    found = zip([None, *steps], _SHADES, strict=False)
    scale = dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE)
    return (
        statushistory.Panel()
        .title(title)
        .description(description)
        .datasource(_source(query))
        .with_target(query)
        .unit(unit)
        .no_value("no data")
        .thresholds(scale.steps([model.Threshold(value=value, color=shade) for value, shade in found]))
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
        .mappings([model.ValueMap(options={"-1": model.ValueMappingResult(text=few, color=_FAINT, index=0)})])
        .show_value(common_model.VisibilityMode.NEVER)
        .row_height(0.85)
        .col_width(1)
        .fill_opacity(100)
        .line_width(0)
        .legend(_legend())
        .tooltip(
            common.VizTooltipOptions().mode(common_model.TooltipDisplayMode.SINGLE).sort(common_model.SortOrder.NONE)
        )
        .interval("1m")
        .span(span)
        .height(8)
    )


_SHADES = ("#fef0c3", "#fecc5c", "#fd8d3c", "#e8402c", "#a50026")
"""From light to dark, told apart on light and dark pages."""
_FAINT = "#8e8e8e50"

BARS = [
    prop("custom.drawStyle", "bars"),
    prop("custom.barAlignment", 1),
    prop("custom.fillOpacity", 70),
    prop("custom.lineWidth", 0),
]
"""For a series of its own beside others that are drawn otherwise."""
DOWNWARDS = prop("custom.transform", "negative-Y")
"""For the second of two kinds of bars: over each other they would mix their colours."""
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


def table_panel(title: str, description: str, query: Query, *, span: int = HALF) -> table.Panel:
    """Rows under columns, in the order of the query; override a column by its name.

    Columns share the width down to 60 pixels each; Grafana's own least of 150 would push the last ones out of sight.
    A wider one takes `custom.width`: by `custom.minWidth` the others would not know of it, and the last be cut off.
    """
    return (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(_source(query))
        .with_target(query)
        .thresholds(thresholds(None))
        .cell_height(common_model.TableCellHeight.SM)
        .show_header(True)
        .no_value("–")
        .min_width(60)
        .span(span)
        .height(8)
    )


def ranking(
    title: str, description: str, query: Query, *, unit: str, decimals: int | None = None, span: int = THIRD
) -> bargauge.Panel:
    """Rows of (name, number) as horizontal bars, in the order of the query."""
    panel = (
        bargauge.Panel()
        .title(title)
        .description(description)
        .datasource(_source(query))
        .with_target(query)
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
        .text(common.VizTextDisplayOptions().title_size(12).value_size(15))  # larger names than 12 are cut in low rows
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(True))
        .span(span)
        .height(8)
    )
    return panel if decimals is None else panel.decimals(decimals)
