"""Metrics of business, operations and devices beside the simulator's books. Everything here only reads."""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, LiteralString

from fleetlab.demo.report import Check
from fleetlab.demo.verify import GRAINS, Aggregates, Key, equal, or_near, without_empty
from fleetlab.simulator.counts import Grain
from fleetlab.simulator.map_tiles import tile
from fleetlab.simulator.truth import Truth

_EVENTS: Mapping[str, tuple[LiteralString, tuple[str, ...]]] = {
    "battery_swap": (
        "SELECT window_start, zone, battery_low, swaps FROM metrics.battery_swap_$grain",
        ("battery_low", "battery_charged"),
    ),
    "rebalancing": (
        "SELECT window_start, zone, picked_up, dropped_off, maintenance_begun, maintenance_ended"
        " FROM metrics.rebalancing_$grain",
        ("rebalance_pick_up", "provider_drop_off", "maintenance", "maintenance_end"),
    ),
    "connectivity": (
        "SELECT window_start, zone, comms_lost, comms_restored FROM metrics.connectivity_$grain",
        ("comms_lost", "comms_restored"),
    ),
}
"""Metric → its rows, and the events of vehicles' changes of state that it counts."""
_SHOWN_FROM = 10
"""Numbers about fewer riders are kept back."""


def company(aggregates: Aggregates, truth: Truth) -> list[Check]:
    """At least one number of each metric, at each of its grains, in windows that should be final."""
    found = [
        *(check for grain in GRAINS for check in business(aggregates, truth, grain)),
        *(check for grain in GRAINS for check in operations(aggregates, truth, grain)),
        *(check for grain in GRAINS for check in _devices(aggregates, truth, grain)),
        *_by_device(aggregates, truth),
    ]
    return without_empty(found)


def business(aggregates: Aggregates, truth: Truth, grain: Grain) -> list[Check]:
    """Payments, unlock requests and riders at a grain."""
    rows = aggregates.rows(
        "payment",
        grain,
        "SELECT window_start, kind, sum(payments)::bigint, sum(failed)::bigint, sum(revenue_krw)::bigint"
        " FROM metrics.payment_$grain GROUP BY 1, 2",
    )
    found = [
        equal(
            f"payments by {grain}: made, failed, KRW",
            _final(aggregates, "payment", grain, truth.payments(grain)),
            _of(rows, 2),
        )
    ]
    rows = aggregates.rows(
        "unlock",
        grain,
        "SELECT window_start, zone, sum(rides)::bigint, sum(failed)::bigint, sum(abandoned)::bigint"
        " FROM metrics.unlock_$grain GROUP BY 1, 2",
    )
    outcomes = {
        key: (cell["ride"], cell["failed"], cell["abandoned"])
        for key, cell in _final(aggregates, "unlock", grain, truth.unlocks(grain)).items()
    }
    found.append(equal(f"unlock requests by {grain}: rides, failed, given up", outcomes, _of(rows, 2)))
    riders = _final(aggregates, "rider", grain, truth.riders(grain))
    rows = aggregates.rows(
        "rider",
        grain,
        """
        SELECT window_start, zone, first_rentals, active_riders, new_riders, returning_riders
        FROM metrics.rider_$grain
        """,
    )
    found_rows = _of(rows, 2)
    # Of so few nothing is shown; some larger rows are kept back with them, so that no total less the rest tells it.
    kept_back = {key for key, (_, active, *_) in found_rows.items() if active is None}
    shown = {
        key: (n, *((None,) * 3 if few[0] < _SHOWN_FROM or key in kept_back else few))
        for key, (n, *few) in riders.items()
    }
    counted = {
        key: (n, *(or_near(one, exact) for one, exact in zip(few, shown.get(key, (n, *few))[1:], strict=True)))
        for key, (n, *few) in found_rows.items()
    }
    found.append(equal(f"riders by {grain}: first rentals, active, new, returning", shown, counted))
    return found


def operations(aggregates: Aggregates, truth: Truth, grain: Grain) -> list[Check]:
    """Battery swaps, rebalancing and lost vehicles at a grain."""
    found, cells = [], truth.state_events(grain)
    for metric, (query, events) in _EVENTS.items():
        expected = {
            key: tuple(cell[event] for event in events)
            for key, cell in _final(aggregates, metric, grain, cells).items()
            if any(cell[event] for event in events)
        }
        rows = _of(aggregates.rows(metric, grain, query), 2)
        found.append(equal(f"{metric} by {grain}: {', '.join(events)}", expected, rows))
    return found


def _devices(aggregates: Aggregates, truth: Truth, grain: Grain) -> list[Check]:
    sent = {key: (cell.events, cell.bytes) for key, cell in truth.telemetry(grain).items()}
    rows = aggregates.rows(
        "telemetry_traffic",
        grain,
        "SELECT window_start, kind, carrier, sum(messages)::bigint, sum(bytes)::bigint"
        " FROM metrics.telemetry_traffic_$grain WHERE direction = 'uplink' GROUP BY 1, 2, 3",
    )
    found = [
        equal(
            f"telemetry traffic by {grain}: messages, bytes",
            _final(aggregates, "telemetry_traffic", grain, sent),
            _of(rows, 3),
        )
    ]
    rows = aggregates.rows(
        "device_error",
        grain,
        "SELECT window_start, error_code, sum(errors)::bigint FROM metrics.device_error_$grain GROUP BY 1, 2",
    )
    expected = _counted(
        _final(aggregates, "device_error", grain, truth.reported("device_error", grain)), lambda code: code
    )
    found.append(equal(f"device errors by {grain}: by code", expected, _of(rows, 2)))
    rows = aggregates.rows(
        "tip_over",
        grain,
        "SELECT window_start, state, n FROM (SELECT window_start, sum(fallen)::bigint AS fallen,"
        " sum(righted)::bigint AS righted FROM metrics.tip_over_$grain GROUP BY 1) AS s"
        " CROSS JOIN LATERAL (VALUES ('true', fallen), ('false', righted)) AS v(state, n) WHERE n > 0",
    )
    reported = _final(aggregates, "tip_over", grain, truth.reported("tip_over", grain))
    expected = _counted(reported, lambda said: said.split()[0])
    found.append(equal(f"falls by {grain}: fallen, set upright", expected, _of(rows, 2)))
    if grain != "minute":
        found.append(by_tile(aggregates, truth, grain))
    rows = aggregates.rows(
        "battery",
        grain,
        "SELECT window_start, 'low', sum(low)::bigint FROM metrics.battery_$grain GROUP BY 1 HAVING sum(low) > 0",
    )
    low = _counted(
        _final(aggregates, "battery", grain, truth.reported("battery", grain)), lambda p: "low" if int(p) < 20 else None
    )
    found.append(equal(f"batteries by {grain}: reports below 20 %", low, _of(rows, 2)))
    return found


def by_tile(aggregates: Aggregates, truth: Truth, grain: Grain) -> Check:
    """Falls by map tile, of windows to which none came since the metric, which has no minutes, looked last."""
    late = {window for window, _ in truth.came_since(aggregates.looked_at, grain, "tip_over")}
    said = _final(aggregates, "tip_over_tile", grain, truth.reported("tip_over", grain))
    cells = Counter((window, tile(one), one.split()[0]) for (window, _), all_ in said.items() for one in all_)
    rows = aggregates.rows(
        "tip_over_tile",
        grain,
        "SELECT window_start, tile, fallen::bigint, righted::bigint FROM metrics.tip_over_tile_$grain",
    )
    expected = {key[:2]: (cells[*key[:2], "true"], cells[*key[:2], "false"]) for key in cells if key[0] not in late}
    found = {key: numbers for key, numbers in _of(rows, 2).items() if key[0] not in late}
    return equal(f"falls by map tile and {grain}: fallen, set upright", expected, found)


def _by_device(aggregates: Aggregates, truth: Truth) -> list[Check]:
    """Of days to which nothing came since the metrics, which have no minutes, looked last."""
    late = truth.came_since(aggregates.looked_at, "day")

    def settled(cells: Mapping[Key, Any]) -> dict[Key, Any]:
        return {key: cell for key, cell in cells.items() if key not in late}

    said = settled(_final(aggregates, "odometer", "day", truth.reported("odometer", "day")))
    metres = {key: (len(one), min(map(int, one)), max(map(int, one))) for key, one in said.items()}
    rows = aggregates.rows(
        "odometer",
        "day",
        "SELECT window_start, device, sum(reports)::bigint, min(least_m), max(most_m)"
        " FROM metrics.odometer_$grain GROUP BY 1, 2",
    )
    found = [equal("odometers by device and day: reports, metres", metres, settled(_of(rows, 2)))]
    cells: dict[Key, int] = {}
    for kind in ("location", "battery", "device_error", "tip_over", "odometer"):
        for key, one in settled(_final(aggregates, "device_report", "day", truth.reported(kind, "day"))).items():
            cells[key] = cells.get(key, 0) + len(one)
    rows = aggregates.rows(
        "device_report", "day", "SELECT window_start, device, reports FROM metrics.device_report_$grain"
    )
    expected = {key: (n,) for key, n in cells.items()}
    found.append(equal("reports by device and day", expected, settled(_of(rows, 2))))
    found.append(_by_sim(aggregates, truth, {truth.sims()[str(device)] for _, device in late}))
    return found


def _by_sim(aggregates: Aggregates, truth: Truth, late: set[str]) -> Check:
    """Telemetry and commands of each SIM and day, but for SIMs to which something came late."""
    final = aggregates.is_final("traffic_sim", "day")
    used = {
        key: (cell.messages, cell.bytes)
        for key, cell in _final(aggregates, "telemetry_sim", "day", truth.by_sim()).items()
        if key[1] not in late and isinstance(key[0], datetime) and final(key[0])
    }
    rows = aggregates.rows(
        "telemetry_sim", "day", "SELECT window_start, sim, carrier, messages, bytes FROM metrics.sim_usage_day"
    )
    counted = {row[:3]: row[3:] for row in rows if row[1] not in late and final(row[0])}
    return equal("traffic by SIM and day: messages, bytes", used, counted)


def _final(aggregates: Aggregates, metric: str, grain: Grain, cells: Mapping[Key, Any]) -> dict[Key, Any]:
    final: Callable[[datetime], bool] = aggregates.is_final(metric, grain)
    return {key: cell for key, cell in cells.items() if final(key[0])}


def _of(rows: list[tuple[Any, ...]], n: int) -> dict[Key, tuple[Any, ...]]:
    """Rows by their first `n` columns."""
    return {row[:n]: row[n:] for row in rows}


def _counted(cells: Mapping[Key, list[str]], name: Callable[[str], str | None]) -> dict[Key, tuple[int]]:
    """By window and what `name` calls the events, over all devices; None: not counted."""
    found: dict[Key, int] = {}
    for (window, _), said in cells.items():
        for one in map(name, said):
            if one is not None:
                found[window, one] = found.get((window, one), 0) + 1
    return {key: (n,) for key, n in found.items()}
