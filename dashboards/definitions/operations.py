"""Operations: where vehicles are in their day, and what the team on the street does. For those who plan its shifts."""

# ruff: noqa: S608 - queries are put together from this package's constants; nothing that a viewer types is among them

from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel

from dashboards.annotations import Annotation, firmware_annotation, provisional_annotation, restated_annotation
from dashboards.buckets import sample_variable
from dashboards.cells import gauge_cell, number
from dashboards.frame import Filter, filled, filter_link, final_until, new_dashboard, stretch
from dashboards.panels import DOWNWARDS, FULL, HALF, THIRD, bars, colour, lines, prop, table_panel, tile
from dashboards.postgres import Sql
from dashboards.views import Views, of_metric

UID = "fleetgauge-operations"
FILTERS = (Filter("zone", "Zone", "vehicle_state"),)
STATES = of_metric("vehicle_state", FILTERS, "stem_state")
BY_STATE, STATES_BY_ZONE = STATES.needing("vehicle_state"), STATES.needing("zone")
SWAPS = of_metric("battery_swap", FILTERS, "stem_swap")
MOVES = of_metric("rebalancing", FILTERS, "stem_move")
CONTACT = of_metric("connectivity", FILTERS, "stem_contact")
CHARGE = of_metric("battery", (), "stem_charge")
OF_STATES = "Source: metrics.vehicle_state_$grain, or its smallest subset that fits; docs/metrics/vehicle_state.md."
OF_SWAPS = "Source: metrics.battery_swap_$grain; docs/metrics/battery_swap.md."
OF_MOVES = "Source: metrics.rebalancing_$grain; docs/metrics/rebalancing.md."
OF_CONTACT = "Source: metrics.connectivity_$grain; docs/metrics/connectivity.md."
STRETCH = stretch("vehicle_state")
KNOWN_S = """extract(epoch FROM $__timeTo()::timestamptz - greatest($__timeFrom()::timestamptz, (
                  SELECT min(window_start) FROM metrics.vehicle_state_total_day
                  WHERE window_start BETWEEN $__timeFrom()::timestamptz - interval '1 day' AND $__timeTo()::timestamptz
                )))"""
"""Seconds of the range from its first day with states on: before it there was no fleet to average over."""
BUCKET_S = """extract(epoch FROM least(bucket_start + fleetgauge.bucket_width('${bucket}'), $__timeTo()::timestamptz)
            - greatest(bucket_start, $__timeFrom()::timestamptz))"""
"""Seconds of a point that lie in the range: vehicle-seconds divided by them are vehicles, on average."""
COLOURS = {
    "available": "green",
    "reserved": "yellow",
    "on_trip": "blue",
    "non_operational": "orange",
    "removed": "#8e8e8e",
    "non_contactable": "red",
    "elsewhere": "purple",
    "missing": "dark-red",
}


def build() -> tuple[dashboard.Dashboard, Sequence[Annotation]]:
    """The dashboard and its annotations."""
    found = new_dashboard(
        UID,
        "Operations: vehicles, batteries, rebalancing",
        "How many vehicles are in which state, how well they are used, and what the team on the street does about it. "
        "States are those of MDS 2.0. Days are Asia/Seoul days.",
        ["operations"],
        FILTERS,
        ["vehicle_state"],
    )
    views = (STATES, BY_STATE, STATES_BY_ZONE, SWAPS, SWAPS.needing("zone"), MOVES, MOVES.needing("zone"), CONTACT)
    for one in (*views, CONTACT.needing("zone"), CHARGE):
        found = found.with_variable(one.variable())
    found = found.with_variable(sample_variable(None))
    rows = (
        (f"Over the range{STRETCH}", _tiles()),
        (f"Vehicles{STRETCH}", _vehicles()),
        ("Batteries and the street", _street()),
        (f"Zones{STRETCH}", [_zones()]),
    )
    return filled(found, rows), [
        provisional_annotation("vehicle_state_total", "vehicle_state"),
        firmware_annotation(),
        restated_annotation("vehicle_state"),
    ]


def _count(views: Views, measure: str) -> Sql:
    return Sql(
        f"""
        SELECT bucket_start AS "time", sum({measure}) AS "{measure}" FROM {views.rows()} GROUP BY 1 ORDER BY 1""",
        "time_series",
    )


def _tiles() -> list[Builder[Panel]]:
    return [
        tile(
            "In service",
            "Vehicles that could be, or were, rented, on average from the first day with states of the range on. "
            f"{OF_STATES}",
            Sql(
                f"""
                SELECT sum(in_service_s) / nullif({KNOWN_S}, 0) AS "in service"
                FROM {STATES.rows(per="range")}"""
            ),
        ),
        tile(
            "Utilisation",
            f"Share of its time in service in which a vehicle is on a trip. {OF_STATES}",
            Sql(
                f"""
                SELECT sum(on_trip_s)::float8 / nullif(sum(in_service_s), 0) AS "utilisation"
                FROM {STATES.rows(per="range")}"""
            ),
            unit="percentunit",
            decimals=1,
        ),
        tile(
            "Low battery",
            f"Vehicles taken out of service for want of charge. {OF_SWAPS}",
            _count(SWAPS, "battery_low"),
            no_value="none",
        ),
        tile(
            "Swapped",
            f"Vehicles back with a charged battery. {OF_SWAPS}",
            _count(SWAPS, "swaps"),
            no_value="none",
        ),
        tile(
            "Set down",
            f"Set down by the operations team, after a move or a repair. {OF_MOVES}",
            _count(MOVES, "dropped_off"),
            no_value="none",
        ),
        tile(
            "Final until",
            f"Up to this instant every window of the range is final. Later ones are shaded and may change. {OF_STATES}",
            Sql(final_until("vehicle_state_total", "vehicle_state")),
            unit="time:MMM D, HH:mm",
            no_value="not yet",
        ),
    ]


def _vehicles() -> list[Builder[Panel]]:
    states = bars(
        "Vehicles by state per $bucket",
        "Vehicles in each state, on average over the time of a bar: vehicle-seconds divided by its length. The newest "
        f"bar holds only what is computed of it. {OF_STATES}",
        Sql(
            f"""
            SELECT bucket_start AS "time", vehicle_state AS metric,
              sum(seconds) / nullif({BUCKET_S}, 0) AS "vehicles"
            FROM {BY_STATE.rows()} GROUP BY bucket_start, vehicle_state HAVING sum(seconds) > 0 ORDER BY 1, 2""",
            "time_series",
        ),
        unit="locale",
        stacked=True,
    )
    for state, shade in COLOURS.items():
        states = states.override_by_regexp(f"/^{state}$/", [colour(shade)])
    return [
        states.decimals(0),
        lines(
            "Utilisation per $bucket",
            f"Share of their time in service in which vehicles are on a trip. {OF_STATES}",
            Sql(
                f"""
                SELECT bucket_start AS "time", sum(on_trip_s)::float8 / nullif(sum(in_service_s), 0) AS "utilisation"
                FROM {STATES.rows()} GROUP BY 1 ORDER BY 1""",
                "time_series",
            ),
            unit="percentunit",
        ).override_by_name("utilisation", [colour("blue")]),
    ]


def _street() -> list[Builder[Panel]]:
    def events(
        title: str, says: str, views: Views, measures: dict[str, tuple[str, str]], source: str, span: int = THIRD
    ) -> Builder[Panel]:
        columns = ", ".join(f'sum({name}) AS "{said}"' for name, (said, _) in measures.items())
        panel = bars(
            f"{title} per $bucket",
            f"{says} {source}",
            Sql(
                f"""
                SELECT bucket_start AS "time", {columns}
                FROM {views.rows()} GROUP BY 1 ORDER BY 1""",
                "time_series",
            ),
            unit="locale",
            span=span,
        ).no_value("none")
        for said, shade in measures.values():
            panel = panel.override_by_name(said, [colour(shade)])
        return panel.override_by_name(said, [colour(shade), DOWNWARDS])

    return [
        events(
            "Batteries",
            "Vehicles taken out of service for want of charge, and downwards those back with a charged battery.",
            SWAPS,
            {"battery_low": ("low", "orange"), "swaps": ("swapped", "blue")},
            OF_SWAPS,
            HALF,
        ),
        lines(
            "State of charge per $sample: p10 and median",
            "Of ten reports, one is below p10. Not filtered by zone, which the devices do not know. "
            "Source: metrics.battery_$grain, or its smallest subset that fits; docs/metrics/battery.md.",
            Sql(
                f"""
                WITH point AS (
                  SELECT bucket_start, fleetgauge.sketch_merge(charge) AS charge
                  FROM {CHARGE.rows(per="sample")} GROUP BY 1
                )
                SELECT bucket_start AS "time", fleetgauge.quantile(charge, 0.1) AS "p10",
                  fleetgauge.quantile(charge, 0.5) AS "median"
                FROM point ORDER BY 1""",
                "time_series",
            ),
            unit="percent",
            ceiling=100,
        )
        .override_by_name("p10", [colour("orange")])
        .override_by_name("median", [colour("blue")]),
        events(
            "Rebalancing",
            "Vehicles that the team took away to be set down elsewhere, and downwards those that it set down.",
            MOVES,
            {"picked_up": ("picked up", "orange"), "dropped_off": ("set down", "blue")},
            OF_MOVES,
        ),
        events(
            "Workshop",
            "Vehicles that went into repair, and downwards those that came back.",
            MOVES,
            {"maintenance_begun": ("repair begun", "orange"), "maintenance_ended": ("repair ended", "blue")},
            OF_MOVES,
        ),
        events(
            "Contact",
            "Vehicles that could not be reached any more, and downwards those that came back.",
            CONTACT,
            {"comms_lost": ("lost", "red"), "comms_restored": ("restored", "green")},
            OF_CONTACT,
        ),
    ]


def _zones() -> Builder[Panel]:
    def part(name: str, views: Views, columns: str) -> str:
        return f"{name} AS (SELECT zone, {columns} FROM {views.needing('zone').rows(per='range')} GROUP BY zone)"

    state = part(
        "state",
        STATES,
        f"sum(in_service_s) / nullif({KNOWN_S}, 0) AS in_service, sum(on_trip_s) / nullif({KNOWN_S}, 0) AS on_trip, "
        "sum(on_trip_s)::float8 / nullif(sum(in_service_s), 0) AS utilisation",
    )
    parts = (
        state,
        part("swap", SWAPS, "sum(battery_low) AS low, sum(swaps) AS swaps"),
        part("move", MOVES, "sum(picked_up) AS picked_up, sum(dropped_off) AS dropped_off"),
        part("contact", CONTACT, "sum(comms_lost) AS lost"),
    )
    panel = table_panel(
        "Zones: the fleet and the work",
        "One row a zone, the largest fleet first; click a zone to see it alone. In service and on trip: vehicles, on "
        f"average over the range. {OF_STATES}",
        Sql(
            f"""
            WITH {", ".join(parts)}
            SELECT zone AS "Zone", in_service AS "In service", on_trip AS "On trip", utilisation AS "Utilisation",
              coalesce(low, 0) AS "Low", coalesce(swaps, 0) AS "Swapped", coalesce(picked_up, 0) AS "Picked up",
              coalesce(dropped_off, 0) AS "Set down", coalesce(lost, 0) AS "Lost contact"
            FROM state LEFT JOIN swap USING (zone) LEFT JOIN move USING (zone) LEFT JOIN contact USING (zone)
            ORDER BY 2 DESC NULLS LAST, 1"""
        ),
        span=FULL,
    )
    return (
        panel.height(10)
        .unit("locale")
        .decimals(0)
        .override_by_name("Zone", [filter_link(UID, "zone", "Only this zone", FILTERS), prop("custom.width", 120)])
        .override_by_name("In service", number("none", 1))
        .override_by_name("On trip", number("none", 1))
        .override_by_name("Utilisation", gauge_cell(0.25))
    )
