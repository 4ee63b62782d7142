"""The dashboard that every metric has by itself: each measure over time, split and narrowed by its dimensions."""

# ruff: noqa: S608 - queries are put together from checked definitions; nothing that a viewer types is among them

from collections.abc import Iterator, Mapping, Sequence

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.common import GraphDrawStyle
from grafana_foundation_sdk.models.dashboard import Panel

from dashboards.annotations import provisional_annotation, restated_annotation
from dashboards.buckets import BUCKET, EVENTS, SAMPLE, sample_variable
from dashboards.frame import Filter, Per, filled, final_until, new_dashboard, stretch
from dashboards.panels import (
    BARS,
    CALM,
    COLOURS,
    HALF,
    HOURS,
    KILOMETRES,
    MINUTES,
    OTHERS,
    SECONDS,
    bars,
    colour,
    lines,
    table_panel,
    tile,
)
from dashboards.postgres import Sql
from dashboards.shares import told_apart, with_few
from dashboards.views import Views
from fleetgauge.rollup import Definition
from fleetgauge.rollup.definitions.measures import (
    Count,
    Distinct,
    Duration,
    Measure,
    Percentile,
    Ratio,
    Sum,
    Tally,
    Unit,
    label_of,
    statistic_of,
    unit_of,
)
from fleetgauge.rollup.operating.metric_reference import over_rows

UNITS: Mapping[Unit, tuple[str, int]] = {
    "count": ("locale", 1),
    "ratio": ("percentunit", 1),
    "percent": ("percent", 1),
    "KRW": ("currencyKRW", 1),
    "EUR": ("currencyEUR", 1),
    "USD": ("currencyUSD", 1),
    "JPY": ("currencyJPY", 1),
    "GBP": ("currencyGBP", 1),
    "s": (MINUTES, 60),
    "ms": (SECONDS, 1000),
    "bytes": ("decbytes", 1),
    "m": (KILOMETRES, 1000),
    "m/s": ("velocityms", 1),
    "celsius": ("celsius", 1),
    "instant": ("dateTimeAsIso", 1),
}
"""Unit of a measure → Grafana's, and how many of the former it is."""


def shown_in(name: str, measure: Measure) -> tuple[str, int]:
    """In which unit a measure is drawn, and how many of its own that is. The time of many vehicles adds up to hours."""
    return (HOURS, 3600) if isinstance(measure, Duration) else UNITS[unit_of(name, measure)]


def uid(metric: str) -> str:
    """The dashboard's uid, at most 40 characters, as Grafana wants."""
    return f"metric-{metric}"


def build(one: Definition) -> tuple[dashboard.Dashboard, Sequence[dict[str, object]]]:
    """The dashboard and its annotations."""
    filters = [Filter(name, name.replace("_", " ").capitalize(), one.metric) for name in one.dimensions]
    found = new_dashboard(
        uid(one.metric),
        f"Metric: {one.metric.replace('_', ' ')}",
        " ".join(one.description.split()),
        ["metric"],
        filters,
        [one.metric],
    ).timezone(one.time_zone)
    if one.finest == "day":
        found = found.time("now-30d", "now")  # the point of a day lies at its beginning, left of a shorter range
    if one.dimensions:
        found = found.with_variable(_split(one))
    views = Views(one.metric, tuple(one.dimensions), one.rollups, filters, split=True)
    found = found.with_variable(views.variable())
    found = found.with_variable(sample_variable(_events(one, views)))
    rows = (
        (f"Over the range{stretch(one.metric)}", [_final(one), _left_out(one)]),
        (f"Measures{stretch(one.metric)}", list(_panels(one, views))),
    )
    return filled(found, rows), [provisional_annotation(_shortest(one), one.metric), restated_annotation(one.metric)]


def _shortest(one: Definition) -> str:
    """The metric's view with the fewest dimensions."""
    names = sorted(one.rollups, key=lambda name: (len(one.rollups[name]), name))
    return f"{one.metric}_{names[0]}" if names else one.metric


def _events(one: Definition, views: Views) -> str | None:
    """SQL of how many events a share or quantile has at most, of each series; None where the metric counts nothing."""
    counts = [name for name, measure in one.measures.items() if isinstance(measure, Count)]
    if not counts:
        return None
    each = f"SELECT sum({counts[0]}) FROM {views.rows(_split_by(one), per='range')} GROUP BY split"
    return f"SELECT sum(n) / nullif(count(*), 0) FROM ({each}) AS each (n)"


def _most(one: Definition, views: Views) -> str:
    """SQL of the values that have series of their own: as many as can be told apart, those with most in the range.

    Where nothing is split by, nothing is read for it.
    """
    adds = [over_rows(name, measure) for name, measure in one.measures.items() if isinstance(measure, Count | Sum)]
    size = adds[0] if adds else "count(*)"
    return f"""
        WITH most AS (
          SELECT split FROM {views.rows(_split_by(one), per="range")} WHERE ${{by:sqlstring}} <> 'nothing'
          GROUP BY 1 ORDER BY {size} DESC NULLS LAST, 1 LIMIT {COLOURS - 1}
        )"""


def _split_by(one: Definition) -> str:
    cases = " ".join(f"WHEN '{name}' THEN {name}" for name in one.dimensions)
    return f"CASE ${{by:sqlstring}} {cases} ELSE 'all' END AS split" if one.dimensions else "'all' AS split"


def _split(one: Definition) -> dashboard.CustomVariable:
    return (
        dashboard.CustomVariable("by")
        .label("Split by")
        .values(",".join(["nothing", *one.dimensions]))
        .multi(False)
        .include_all(False)
        .allow_custom_value(False)
        .current(model.VariableOption(text="nothing", value="nothing", selected=True))
    )


def _final(one: Definition) -> Builder[Panel]:
    return tile(
        "Final until",
        "Up to this instant every window of the time range is final. Later windows are shaded and may still change. "
        f"Source: metrics.{one.metric}_$grain.",
        Sql(final_until(_shortest(one), one.metric)),
        unit="time:MMM D, HH:mm",
        no_value="not yet",
        span=HALF,
    )


def _left_out(one: Definition) -> Builder[Panel]:
    return table_panel(
        "Left out",
        "Rows of the time range that are in no number, by reason: a value that is not finite or too large. Those whose "
        f"time is no time of a fleet belong to every range. Source: metrics.{one.metric}_$grain leaves them out.",
        Sql(
            f"""
        SELECT reason AS "Reason", row_count AS "Rows"
        FROM fleetgauge.left_out_rows('{one.metric}', $__timeFrom(), $__timeTo())
        UNION ALL
        SELECT 'nothing', 0 WHERE NOT EXISTS (
          SELECT FROM fleetgauge.left_out_rows('{one.metric}', $__timeFrom(), $__timeTo()))"""
        ),
    ).height(4)


def _panels(one: Definition, views: Views) -> Iterator[Builder[Panel]]:
    for name, measure in one.measures.items():
        adds = isinstance(measure, Count | Sum | Duration)
        unit, scale = shown_in(name, measure)
        value = over_rows(name, measure) + (f" / {scale}.0" if scale != 1 else "")
        few = None if adds else _sampled(one, name, measure)
        series = "series" if few is None else told_apart("series", few)
        most, rows = _rows(one, views, _per(measure))
        query = f"""
            {most}
            SELECT bucket_start AS "time", {series} AS metric, {value} AS "value"
            FROM {rows} GROUP BY bucket_start, series ORDER BY 1, 2"""
        distinct = isinstance(measure, Distinct)
        target = Sql(_counted(one, views, name) if distinct else query, "time_series")
        says = f"{measure.description.rstrip('.')}. " if measure.description else ""
        note = (
            f"{says}{_what(measure)}{_told(measure) if one.dimensions else ''} "
            f"Source: metrics.{one.metric}_$grain, or a smaller view that has what is asked for."
        )
        said = title(name, measure)
        if adds:
            panel = bars(said, note, target, unit=unit, stacked=True)
        elif few is None:
            panel = lines(said, note, target, unit=unit)
        else:
            panel = with_few(
                lines(said, f"{note} Small grey points have fewer than {EVENTS} events.", target, unit=unit)
            )
        whole = [colour(CALM)]
        if distinct:  # a line would lead over windows without values, and numbers of different values do not add up
            panel = panel.draw_style(GraphDrawStyle.POINTS).point_size(6)
            whole += BARS
        yield panel.no_value(_nothing(one, name)).override_by_name("all", whole)


def _rows(one: Definition, views: Views, per: Per) -> tuple[str, str]:
    """SQL of `_most`, and of the rows with the name of the series that each belongs to."""
    rows = views.rows(_split_by(one), per=per)
    if not one.dimensions:
        return "", f"(SELECT *, split AS series FROM {rows}) AS told"
    series = f"CASE WHEN ${{by:sqlstring}} = 'nothing' THEN split ELSE coalesce(most.split, '{OTHERS}') END"
    return _most(one, views), f"(SELECT *, {series} AS series FROM {rows} LEFT JOIN most USING (split)) AS told"


def _told(measure: Measure) -> str:
    """Which values a split tells apart; sets of the others cannot be put together here."""
    others = "not the others" if isinstance(measure, Distinct) else f"and {OTHERS} together"
    return f" Split: the {COLOURS - 1} values with most in the range, {others}."


def _nothing(one: Definition, measure: str) -> str:
    """What a panel without a point says."""
    if one.privacy is not None and measure in one.personal:
        return "none, or too few persons to be shown"
    return "no whole day in the range, or nothing" if one.finest == "day" else "nothing in the range"


def _counted(one: Definition, views: Views, measure: str) -> str:
    """SQL of a distinct measure; sets of other values cannot be put together here, so those are left out."""
    counted, most, told = f"({views.counted(measure)}) AS counted", "", ""
    if one.dimensions:
        most, told = _most(one, views), " AND (metric = 'all' OR metric IN (SELECT split FROM most))"
    return f"""
        {most}
        SELECT * FROM {counted} WHERE "value" IS NOT NULL{told} ORDER BY 1, 2"""


def _sampled(one: Definition, name: str, measure: Measure) -> str | None:
    """SQL of how many events a share or a quantile is made of, where the metric knows it."""
    match measure:
        case Percentile():
            return f"fleetgauge.sketch_count(fleetgauge.sketch_merge({name}))"
        case Tally():
            return f"fleetgauge.tally_count(fleetgauge.tally_merge({name}))"
        case Ratio() if isinstance(one.measures.get(measure.denominator), Count):
            return f"sum({measure.denominator})"
        case _:
            return None


def _per(measure: Measure) -> Per:
    """Sums and sets are what they are, however narrow a point is; shares and quantiles need events."""
    return BUCKET if isinstance(measure, Count | Sum | Duration | Distinct) else SAMPLE


def title(name: str, measure: Measure) -> str:
    """What a panel shows: the measure, and which statistic of it."""
    said = "" if isinstance(measure, Ratio) else f": {statistic_of(measure)}"  # of what it is one, the description says
    return f"{label_of(name, measure)}{said} per ${_per(measure)}"


def _what(measure: Measure) -> str:
    match measure:
        case Percentile():
            return "95th percentile, within 1 %."
        case Tally():
            return "95th percentile, exact."
        case Distinct():
            return "Different values, within some 2 %. Where so few persons may not be shown, nothing is."
        case Ratio():
            return f"{measure.numerator} / {measure.denominator}."
        case _:
            return ""
