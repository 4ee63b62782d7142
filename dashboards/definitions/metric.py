"""The dashboard that every metric has by itself: each measure over time, split and narrowed by its dimensions."""

# ruff: noqa: S608 - queries are put together from checked definitions; nothing that a viewer types is among them

from collections.abc import Iterator, Mapping, Sequence

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.dashboard import Panel

from dashboards.frame import Filter, filled, final_until, new_dashboard, provisional_annotation, stretch
from dashboards.panels import bars, lines, stat_tile, table_panel
from dashboards.postgres import Sql
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

UNITS: Mapping[Unit, str] = {
    "count": "locale",
    "ratio": "percentunit",
    "percent": "percent",
    "KRW": "currencyKRW",
    "EUR": "currencyEUR",
    "USD": "currencyUSD",
    "JPY": "currencyJPY",
    "GBP": "currencyGBP",
    "s": "s",
    "ms": "ms",
    "bytes": "decbytes",
    "m": "lengthm",
    "m/s": "velocityms",
    "celsius": "celsius",
}
"""Unit of a measure → Grafana's."""


def uid(metric: str) -> str:
    """The dashboard's uid, at most 40 characters, as Grafana wants."""
    return f"metric-{metric}"


def build(one: Definition) -> tuple[dashboard.Dashboard, Sequence[dict[str, object]]]:
    """The dashboard and its annotations."""
    filters = [Filter(name, name.replace("_", " ").capitalize(), one.metric) for name in one.dimensions]
    found = new_dashboard(
        uid(one.metric), f"Metric: {one.metric}", " ".join(one.description.split()), ["metric"], filters, [one.metric]
    ).timezone(one.time_zone)
    if one.dimensions:
        found = found.with_variable(_split(one))
    views = Views(one.metric, tuple(one.dimensions), one.rollups, filters, split=True)
    found = found.with_variable(views.variable())
    return filled(found, [_final(one), _left_out(one)], [("Measures", list(_panels(one, views)))]), [
        provisional_annotation(one.metric)
    ]


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
    return stat_tile(
        "Final until",
        "Up to this instant every window of the time range is final. Later windows are shaded and may still change. "
        f"Source: metrics.{one.metric}_$grain.",
        final_until(one.metric),
        unit="time:MMM D, HH:mm",
        no_value="not yet",
    ).span(12)


def _left_out(one: Definition) -> Builder[Panel]:
    return table_panel(
        "Left out",
        "Rows of the time range that are in no number, by reason: a value that is not finite or too large. Those whose "
        f"time is no time of a fleet belong to every range. Source: metrics.{one.metric}_$grain leaves them out.",
        f"""
        SELECT reason AS "Reason", row_count AS "Rows"
        FROM fleetgauge.left_out_rows('{one.metric}', $__timeFrom(), $__timeTo())
        UNION ALL
        SELECT 'nothing', 0 WHERE NOT EXISTS (
          SELECT FROM fleetgauge.left_out_rows('{one.metric}', $__timeFrom(), $__timeTo()))""",
    ).height(4)


def _panels(one: Definition, views: Views) -> Iterator[Builder[Panel]]:
    cases = " ".join(f"WHEN '{name}' THEN {name}" for name in one.dimensions)
    split = f"CASE ${{by:sqlstring}} {cases} ELSE 'all' END" if one.dimensions else "'all'"
    rows = views.rows(f"{split} AS split")
    for name, measure in one.measures.items():
        query = f"""
            SELECT bucket_start AS "time", split AS metric, {over_rows(name, measure)} AS "value"
            FROM {rows}
            GROUP BY 1, 2 ORDER BY 1, 2"""
        target = Sql(views.counted(name) if isinstance(measure, Distinct) else query, "time_series")
        says = f"{measure.description.rstrip('.')}. " if measure.description else ""
        note = (
            f"{says}{_what(measure)} Source: metrics.{one.metric}_$grain, or a smaller view that has what is asked for."
        )
        said = f"{title(name, measure)}{stretch(one.metric)}"
        if isinstance(measure, Count | Sum | Duration):
            yield bars(said, note, target, unit=UNITS[unit_of(name, measure)], stacked=True)
        else:
            yield lines(said, note, target, unit=UNITS[unit_of(name, measure)])


def title(name: str, measure: Measure) -> str:
    """What a panel shows: the measure, and which statistic of it."""
    return f"{label_of(name, measure)}: {statistic_of(measure)} per $grain"


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
