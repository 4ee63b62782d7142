"""Service: what a product manager asks about rentals each morning and an on-call engineer during an incident."""

# ruff: noqa: S608 - queries are put together from this package's constants; nothing that a viewer types is among them

from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.common import FieldTextAlignment
from grafana_foundation_sdk.models.dashboard import Panel

from dashboards.annotations import firmware_annotation, provisional_annotation, restated_annotation
from dashboards.buckets import sample_variable
from dashboards.cells import NO_VALUE, gauge_cell, number
from dashboards.frame import (
    Filter,
    filled,
    filter_link,
    final_until,
    new_dashboard,
    of_range,
    stretch,
    where,
)
from dashboards.panels import (
    EXACT_KRW,
    FULL,
    GREY,
    KILOMETRES,
    KRW,
    MINUTES,
    PROVISIONAL_BAR,
    bars,
    colour,
    lines,
    prop,
    ranking,
    table_panel,
    tile,
)
from dashboards.postgres import Sql
from dashboards.shares import share_chart
from dashboards.views import of_metric

UID = "fleetgauge-service"
FILTERS = (Filter("zone", "Zone", "rental"), Filter("vehicle_model", "Vehicle model", "rental"))
DIMENSIONS = "zone IN (${zone:sqlstring}) AND vehicle_model IN (${vehicle_model:sqlstring})"
VIEWS = of_metric("rental", FILTERS)
WHERE = where(FILTERS)
STRETCH = stretch("rental")
WHOLE = of_range("rental")
"""Where rows are told apart by `provisional`: one ride under way makes all of a coarser row provisional."""
BY_ZONE, BY_MODEL = VIEWS.needing("zone"), VIEWS.needing("vehicle_model")
SOURCE = "Source: metrics.rental_$grain, or its smallest subset that fits."
NET = "(coalesce(sum(fare_krw), 0) - coalesce(sum(refund_krw), 0))"
"""Fares less refunds. A sum over no rows is NULL, which must not swallow the other sum."""


def build() -> tuple[dashboard.Dashboard, Sequence[dict[str, object]]]:
    """The dashboard and its annotations."""
    found = new_dashboard(
        UID,
        "Service: rentals",
        "Rentals, revenue and rides. A rental counts in the window in which it started. Days are Asia/Seoul days.",
        ["service"],
        FILTERS,
        ["rental"],
    )
    for views in (VIEWS, BY_ZONE, BY_MODEL):
        found = found.with_variable(views.variable())
    found = found.with_variable(sample_variable(f"SELECT sum(started) FROM {VIEWS.rows(per='range')}"))
    rows = (
        (f"Over the range{STRETCH}", _tiles()),
        (f"Course{STRETCH}", _course()),
        (f"Where and when{STRETCH}", _breakdown()),
    )
    return filled(found, rows), [
        provisional_annotation("rental_total", "rental"),
        firmware_annotation(),
        restated_annotation("rental"),
    ]


def _tiles() -> list[Builder[Panel]]:
    return [
        tile(
            "Rentals",
            f"Rentals that started in the time range. {SOURCE}",
            Sql(
                f"""
            SELECT bucket_start AS "time", sum(started) AS "started"
            FROM {VIEWS.rows()} GROUP BY 1 ORDER BY 1""",
                "time_series",
            ),
        ),
        tile(
            "Revenue",
            f"Fares less refunds of the rentals that started in the time range, in KRW. {SOURCE}",
            Sql(
                f"""
            SELECT bucket_start AS "time", {NET} AS "revenue"
            FROM {VIEWS.rows()} GROUP BY 1 ORDER BY 1""",
                "time_series",
            ),
            unit=KRW,
            decimals=1,
        ),
        tile(
            "Per rental",
            f"Fares less refunds, divided by completed rentals, in KRW. {SOURCE}",
            Sql(
                f"""
            SELECT {NET} / nullif(sum(completed), 0) AS "revenue per rental"
            FROM {VIEWS.rows(per="range")}"""
            ),
            unit=EXACT_KRW,
            decimals=0,
        ),
        tile(
            "Completed",
            f"Completed rentals divided by started ones. Rides that are still under way lower it. {SOURCE}",
            Sql(
                f"""
            SELECT sum(completed)::float8 / nullif(sum(started), 0) AS "completion rate"
            FROM {VIEWS.rows(per="range")}"""
            ),
            unit="percentunit",
            decimals=1,
        ),
        tile(
            "Refund rate",
            f"Refunded rentals divided by completed ones. Refunds come days later and restate past windows. {SOURCE}",
            Sql(
                f"""
            SELECT sum(refunded)::float8 / nullif(sum(completed), 0) AS "refund rate"
            FROM {VIEWS.rows(per="range")}"""
            ),
            unit="percentunit",
            decimals=2,
        ),
        tile(
            "Final until",
            "Up to this instant every window of the time range is final: its sources are complete and "
            f"no ride of it is under way. Later windows are shaded and drawn faintly, and may still change. {SOURCE}",
            Sql(final_until("rental_total", "rental")),
            unit="time:MMM D, HH:mm",
            no_value="not yet",
        ),
    ]


def _course() -> list[Builder[Panel]]:
    return [
        bars(
            "Rentals per $bucket",
            "Rentals by the window in which they started. Faint bars are provisional; the grey line is the same "
            f"stretch of the day before (where a point is a day: of the week before). {SOURCE}",
            Sql(
                f"""
                SELECT bucket_start AS "time",
                  sum(started) FILTER (WHERE NOT provisional) AS "started",
                  sum(started) FILTER (WHERE provisional) AS "started (provisional)"
                FROM {WHOLE} WHERE {WHERE} GROUP BY 1 ORDER BY 1""",
                "time_series",
            ),
            Sql(
                f"""
                WITH shift AS (
                  SELECT CASE '${{bucket}}' WHEN 'day' THEN interval '7 days' WHEN '7 days' THEN interval '7 days'
                    WHEN '28 days' THEN interval '28 days' ELSE interval '1 day' END AS by
                )
                SELECT bucket_start + shift.by AS "time", sum(started) AS "period before"
                FROM shift CROSS JOIN LATERAL metrics.rental_range(
                  $__timeFrom()::timestamptz - shift.by, $__timeTo()::timestamptz - shift.by, '${{bucket}}')
                WHERE {WHERE}
                GROUP BY 1 ORDER BY 1""",
                "time_series",
                "B",
            ),
            unit="locale",
        )
        .override_by_name("started", [colour("blue")])
        .override_by_name("started (provisional)", [colour("blue"), *PROVISIONAL_BAR])
        .override_by_name(
            "period before",
            [
                colour(GREY),
                prop("custom.drawStyle", "line"),
                prop("custom.lineWidth", 1),
                prop("custom.fillOpacity", 0),
                prop("custom.spanNulls", True),
                prop("custom.showPoints", "never"),
            ],
        ),
        bars(
            "Revenue per $bucket by vehicle model",
            f"Fares less refunds by the window in which the rental started, in KRW, stacked by model. {SOURCE}",
            Sql(
                f"""
                SELECT bucket_start AS "time", vehicle_model AS metric, {NET} AS "revenue"
                FROM {BY_MODEL.rows()} GROUP BY 1, 2 ORDER BY 1, 2""",
                "time_series",
            ),
            unit=KRW,
            stacked=True,
        ),
        share_chart(
            "Completion rate per $sample",
            "Completed rentals divided by started ones, with its 95 % interval. It is low in the newest windows, whose "
            f"rides are still under way: those are dashed. {SOURCE}",
            VIEWS.rows(per="sample"),
            "sum(completed)",
            "sum(started)",
            "completion rate",
            "green",
        )
        .max(1)
        .axis_soft_min(0.8),
        lines(
            "Ride duration per $sample: median and p95",
            "Half of the completed rentals were shorter than the median, 95 of 100 shorter than p95. From mergeable "
            f"sketches (relative error at most 1 %). {SOURCE}",
            Sql(
                f"""
                WITH windows AS (
                  SELECT bucket_start, fleetgauge.sketch_merge(duration_s) AS sketch
                  FROM {VIEWS.rows(per="sample")} GROUP BY 1
                )
                SELECT bucket_start AS "time",
                  fleetgauge.quantile(sketch, 0.5) / 60 AS "median",
                  fleetgauge.quantile(sketch, 0.95) / 60 AS "p95"
                FROM windows ORDER BY 1""",
                "time_series",
            ),
            unit=MINUTES,
        )
        .override_by_name("median", [colour("blue")])
        .override_by_name("p95", [colour("purple")]),
    ]


def _breakdown() -> list[Builder[Panel]]:
    by_zone = table_panel(
        "Zones",
        "One row a zone, by revenue. Click a zone to see it alone. Revenue: fares less refunds, in KRW. Mean ride: "
        f"distance of a completed one; median ride: its duration. {SOURCE}",
        Sql(
            f"""
        SELECT zone AS "Zone", sum(started) AS "Started",
          sum(completed)::float8 / nullif(sum(started), 0) AS "Completed",
          sum(refunded)::float8 / nullif(sum(completed), 0) AS "Refunded",
          {NET} AS "Revenue",
          ({NET} / nullif(sum({NET}) OVER (), 0))::float8 AS "Share of revenue",
          {NET} / nullif(sum(completed), 0) AS "Per rental",
          sum(distance_m) / 1000.0 / nullif(sum(completed), 0) AS "Mean ride",
          fleetgauge.quantile(fleetgauge.sketch_merge(duration_s), 0.5) / 60 AS "Median ride"
        FROM {BY_ZONE.rows(per="range")} GROUP BY zone ORDER BY 5 DESC NULLS LAST"""
        ),
        span=FULL,
    )
    by_zone = (
        by_zone.height(10)
        .override_by_name("Zone", [filter_link(UID, "zone", "Only this zone", FILTERS)])
        .override_by_name("Started", number("locale", 0))
        .override_by_name("Completed", number("percentunit", 1))
        .override_by_name("Refunded", number("percentunit", 2))
        .override_by_name("Revenue", number(EXACT_KRW, 0))
        .override_by_name("Share of revenue", gauge_cell(0.4))
        .override_by_name("Per rental", number(EXACT_KRW, 0))
        .override_by_name("Mean ride", number(KILOMETRES, 2))
        .override_by_name("Median ride", number(MINUTES, 1))
    )
    by_model = ranking(
        "Rentals by vehicle model",
        f"Rentals started in the time range, by vehicle model. {SOURCE}",
        Sql(
            f"""
            SELECT vehicle_model AS "model", sum(started) AS "started"
            FROM {BY_MODEL.rows(per="range")} GROUP BY 1 ORDER BY 2 DESC"""
        ),
        unit="locale",
        decimals=0,
        span=6,
    ).height(9)
    return [by_zone, by_model, _week()]


def _week() -> Builder[Panel]:
    hours = ",\n          ".join(
        f"sum(started) FILTER (WHERE hour / 2 = {hour // 2})::float8"
        f" / nullif(count(DISTINCT day) FILTER (WHERE hour / 2 = {hour // 2}), 0)"
        f' AS "{hour:02d}"'
        for hour in range(0, 24, 2)
    )
    panel = table_panel(
        "Rentals by weekday and hour",
        "Mean number of rentals started in the two hours from that hour on (Asia/Seoul), by weekday, over "
        "the whole hours of the time range or of the last 7 days, whichever is longer. Source: metrics.rental_hour.",
        Sql(
            f"""
        WITH windows AS (
          SELECT window_start, sum(started) AS started
          FROM metrics.rental_hour
          WHERE window_start BETWEEN least($__timeFrom()::timestamptz, $__timeTo()::timestamptz - interval '7 days')
              AND $__timeTo()::timestamptz - interval '1 hour'
            AND {DIMENSIONS}
          GROUP BY 1
        ), hours AS (
          SELECT started,
            (window_start AT TIME ZONE 'Asia/Seoul')::date AS day,
            extract(hour FROM window_start AT TIME ZONE 'Asia/Seoul')::int AS hour,
            extract(isodow FROM window_start AT TIME ZONE 'Asia/Seoul')::int AS weekday
          FROM windows
        )
        SELECT (ARRAY['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'])[weekday] AS "Weekday",
          {hours}
        FROM hours GROUP BY weekday ORDER BY weekday"""
        ),
        span=18,
    )
    background = [prop("custom.cellOptions", {"type": "color-background", "mode": "basic"})]
    return (
        panel.height(9)
        .unit("locale")
        .decimals(0)
        .min_width(36)
        .align(FieldTextAlignment.CENTER)
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.CONTINUOUS_BLUES))
        .override_by_regexp("^[0-9]{2}$", [*background, NO_VALUE])
        .override_by_name("Weekday", [prop("custom.width", 80), prop("custom.align", "left")])
    )
