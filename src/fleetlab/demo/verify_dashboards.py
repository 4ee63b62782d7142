"""What the dashboards *Operations* and *Fleet health* show, beside the simulator's books. Everything here only reads.

Each panel is asked as Grafana asks it, over an hour, a day, a month and half a year, with all filters open and with
single values chosen. Suspects are left out, since the books know who stops, not what a score makes of it: how many of
them it finds is measured (`make bench-suspects`).
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import isclose
from pathlib import Path
from types import ModuleType
from typing import Any, cast
from zoneinfo import ZoneInfo

import psycopg

from fleetlab.demo.books import Books
from fleetlab.demo.report import Check
from fleetlab.demo.silent_by_books import silent
from fleetlab.demo.verify import RELATIVE_ERROR
from fleetlab.simulator.counts import Grain, nearest_rank, windows
from fleetlab.simulator.map_tiles import middle, tile
from fleetlab.simulator.truth import Truth

SPANS: Mapping[str, timedelta] = {
    "1 hour": timedelta(hours=1),
    "1 day": timedelta(days=1),
    "30 days": timedelta(days=30),
    "6 months": timedelta(days=180),
}
CHOSEN = 2
"""Single values of a filter that are tried beside All: the first ones that the dashboard offers."""
CITY = "Asia/Seoul"
METRICS = ("vehicle_state", "battery_swap", "rebalancing", "connectivity", "battery", "device_error", "tip_over")
"""Those of the panels that have minutes."""
IN_SERVICE = {"available", "reserved", "on_trip"}
MOST_CODES = 5
MOST_SILENT = 100
_NEAR = {"State of charge per $sample: p10 and median"}
"""Quantiles, which a sketch tells within its error."""

Cells = dict[Any, float]
"""Point of a chart or row of a table, with what is told apart there → number. What is 0 is left out."""
Fact = tuple[datetime, Any, str, float]
"""Minute, what it is, value of the filter, how much."""


@dataclass(frozen=True)
class Page:
    """A dashboard as somebody looks at it."""

    since: datetime
    until: datetime
    grain: Grain
    only: str | None = None
    """The one value of its filter; None: All."""

    def bucket(self, minute: datetime) -> datetime:
        """Where the point of a chart begins that holds a minute."""
        return windows(self.grain, ZoneInfo(CITY))(int(minute.timestamp() * 1000))[0]

    def of(self, facts: Iterable[Fact]) -> Iterator[tuple[datetime, Any, float]]:
        """What of the facts is on the page: point, what it is, how much."""
        known: dict[datetime, datetime] = {}
        for minute, what, value, much in facts:
            if self.since <= minute < self.until and self.only in (None, value):
                if minute not in known:
                    known[minute] = self.bucket(minute)
                yield known[minute], what, much

    def seconds(self, point: datetime) -> float:
        """How much of a point lies in the range."""
        length = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}[self.grain]
        return (min(point + length, self.until) - max(point, self.since)).total_seconds()


def dashboards(
    grafana: psycopg.Connection[Any], truth: Truth, books: Books, content: Path, queries: ModuleType, settled: datetime
) -> list[Check]:
    """A check for each panel. `settled`: see `Books`; `queries`: the module of the content that expands queries."""
    until = settled.replace(minute=0, second=0, microsecond=0)
    while not all(books.should_be_final(one, "minute")(until - timedelta(minutes=1)) for one in METRICS):
        until -= timedelta(hours=1)
    looked = Looked(grafana, content / "dashboards" / "generated", queries, until)
    operations, health = Operations(truth), _Health(truth, books, until)
    found = looked.at("fleetgauge-operations", "zone", operations.expected)
    return [*found, *looked.at("fleetgauge-fleet-health", "vehicle_model", health.expected, health.late)]


@dataclass(frozen=True)
class Looked:
    """What the dashboards show."""

    grafana: psycopg.Connection[Any]
    folder: Path
    queries: ModuleType
    until: datetime

    def at(
        self,
        uid: str,
        filtered: str,
        expected: Callable[[Page], Mapping[str, Cells]],
        left_out: Callable[[str], set[Any]] = lambda _: set(),
    ) -> list[Check]:
        """Compare every panel of `expected`; `left_out`: keys of a panel that nobody can be sure of."""
        compared, told = Counter[str](), defaultdict[str, list[str]](list)
        dashboard = json.loads((self.folder / f"{uid}.json").read_text(encoding="utf-8"))
        for said, page in self._pages(dashboard, filtered):
            shown = self._shown(dashboard, page, filtered)
            for title, cells in expected(page).items():
                unsure = left_out(title)
                keys = {key for key in cells.keys() | shown[title].keys() if not unsure & {key, *_parts(key)}}
                compared[title] += len(keys)
                for key in sorted(keys, key=str):
                    want, got = cells.get(key, 0.0), shown[title].get(key, 0.0)
                    if not isclose(want, got, rel_tol=RELATIVE_ERROR if title in _NEAR else 1e-9, abs_tol=1e-9):
                        told[title].append(f"{said}, {' '.join(map(str, _parts(key)))}: {got} instead of {want}")
        return [Check(f"{uid}: {title}", n, tuple(told[title][:3])) for title, n in compared.items()]

    def _pages(self, dashboard: Mapping[str, Any], filtered: str) -> Iterator[tuple[str, Page]]:
        for name, span in SPANS.items():
            page = Page(self.until - span, self.until, "day")
            offered = next(
                query.sql
                for query in self.queries.dashboard_queries(dashboard, {}, page.since, page.until)
                if query.name == filtered
            )
            values = [str(value) for (value,) in self.grafana.execute(offered)][:CHOSEN]
            for only in (None, *values):
                grain = self._settled(dashboard, replace(page, only=only), filtered)["grain"]
                yield f"{name}, {only or 'All'}", replace(page, only=only, grain=cast(Grain, grain))

    def _settled(self, dashboard: Mapping[str, Any], page: Page, filtered: str) -> dict[str, Any]:
        """The variables as Grafana computes them, but for a point being one window."""
        chosen = {filtered: [page.only]} if page.only is not None else {}
        found: dict[str, Any] = self.queries.settled(dashboard, chosen, page.since, page.until, self._ask)
        return found | {name: found["grain"] for name in ("bucket", "sample", "each") if name in found}

    def _shown(self, dashboard: Mapping[str, Any], page: Page, filtered: str) -> dict[str, Cells]:
        variables = self._settled(dashboard, page, filtered)
        shown = defaultdict[str, Cells](dict)
        for query in self.queries.panel_queries(dashboard, variables, page.since, page.until):
            cursor = self.grafana.execute(query.sql)
            names = [column.name for column in cursor.description or ()]
            for row in cursor:
                shown[query.name] |= _cells(names, row)
        codes = "Faults by code"  # the books know no severity
        shown[codes] = _summed(((code, column), much) for (code, _, column), much in shown[codes].items())
        return shown

    def _ask(self, sql: str) -> str:
        row = self.grafana.execute(sql).fetchone()
        return "" if row is None or row[0] is None else str(row[0])


def _cells(names: Sequence[str], row: Sequence[Any]) -> Cells:
    """A row's numbers, by its time and texts, and by the name of their column unless a column `metric` tells them."""
    told = [value for value in row if isinstance(value, str | datetime)]
    key = tuple(value.astimezone(UTC) if isinstance(value, datetime) else value for value in told)
    numbers = [(name, value) for name, value in zip(names, row, strict=True) if _number(value)]
    return {
        (*key, *(() if "metric" in names else (name,))): float(value) for name, value in numbers if value
    }  # a point that says 0, and one that is not there, are the same


def _number(value: Any) -> bool:
    return value is not None and not isinstance(value, str | datetime)


def _parts(key: Any) -> tuple[Any, ...]:
    return key if isinstance(key, tuple) else (key,)


def _summed(found: Iterable[tuple[Any, float]]) -> Cells:
    cells: Cells = defaultdict(float)
    for key, much in found:
        cells[key] += much
    return dict(cells)


def _share(part: Cells, whole: Cells, name: str) -> Cells:
    return {(*key, name): part.get(key, 0.0) / much for key, much in whole.items() if much}


class Operations:
    """By the books of vehicles' states."""

    COLUMNS: Mapping[str, Mapping[str, str]] = {
        "Low battery": {"battery_low": "battery_low"},
        "Swapped": {"battery_charged": "swaps"},
        "Set down": {"provider_drop_off": "dropped_off"},
        "Batteries per $bucket": {"battery_low": "low", "battery_charged": "swapped"},
        "Rebalancing per $bucket": {"rebalance_pick_up": "picked up", "provider_drop_off": "set down"},
        "Workshop per $bucket": {"maintenance": "repair begun", "maintenance_end": "repair ended"},
        "Contact per $bucket": {"comms_lost": "lost", "comms_restored": "restored"},
    }
    """Panel → event of a vehicle's change of state → what the panel calls it."""
    OF_ZONE: Mapping[str, str] = {
        "battery_low": "Low",
        "battery_charged": "Swapped",
        "rebalance_pick_up": "Picked up",
        "provider_drop_off": "Set down",
        "comms_lost": "Lost contact",
    }

    def __init__(self, truth: Truth) -> None:
        self._states: list[Fact] = [
            (cast(datetime, minute), (state, zone), str(zone), ms / 1000)
            for (minute, state, zone), ms in truth.state_ms("minute").items()
        ]
        self._events: list[Fact] = [
            (cast(datetime, minute), (event, zone), str(zone), n)
            for (minute, zone), events in truth.state_events("minute").items()
            for event, n in events.items()
        ]
        first_ms = int(min(minute for minute, *_ in self._states).timestamp() * 1000)
        self._began = windows("day", ZoneInfo(CITY))(first_ms)[0]
        self._charges = truth.reported("battery", "minute")

    def expected(self, page: Page) -> dict[str, Cells]:
        """Panel → what it must show."""
        states, events = list(page.of(self._states)), list(page.of(self._events))
        length = (page.until - max(page.since, self._began)).total_seconds()
        service = _summed(((point,), s) for point, (state, _), s in states if state in IN_SERVICE)
        trips = _summed(((point,), s) for point, (state, _), s in states if state == "on_trip")
        in_all, on_trips = sum(service.values()), sum(trips.values())
        by_state = _summed(((point, state), s) for point, (state, _), s in states)
        found = {
            title: _summed(((point, names[event]), n) for point, (event, _), n in events if event in names)
            for title, names in self.COLUMNS.items()
        }
        return found | {
            "In service": {("in service",): in_all / length},
            "Utilisation": {("utilisation",): on_trips / in_all} if in_all else {},
            "Vehicles by state per $bucket": {key: s / page.seconds(key[0]) for key, s in by_state.items()},
            "Utilisation per $bucket": _share(trips, service, "utilisation"),
            "State of charge per $sample: p10 and median": self._charge(page),
            "Zones: the fleet and the work": self._zones(states, events, length),
        }

    def _zones(self, states: list[Any], events: list[Any], length: float) -> Cells:
        service = _summed(((zone,), s) for _, (state, zone), s in states if state in IN_SERVICE)
        trips = _summed(((zone,), s) for _, (state, zone), s in states if state == "on_trip")
        shown = {zone for _, (_, zone), _ in states}
        names = self.OF_ZONE
        return (
            {(*key, "In service"): s / length for key, s in service.items()}
            | {(*key, "On trip"): s / length for key, s in trips.items()}
            | _share(trips, service, "Utilisation")
            | _summed(((zone, names[e]), n) for _, (e, zone), n in events if e in names and zone in shown)
        )

    def _charge(self, page: Page) -> Cells:
        """Devices know no zone, so that none is left out."""
        said = defaultdict[datetime, list[int]](list)
        open_page = replace(page, only=None)
        facts = ((cast(datetime, m), percent, "", 1.0) for (m, _), all_ in self._charges.items() for percent in all_)
        for point, percent, _ in open_page.of(facts):
            said[point].append(int(percent))
        shares = {"p10": 0.1, "median": 0.5}
        return {(point, n): float(nearest_rank(one, q) or 0) for point, one in said.items() for n, q in shares.items()}


class _Health:
    """By the books of what devices reported."""

    def __init__(self, truth: Truth, books: Books, until: datetime) -> None:
        models = truth.models()

        def facts(kind: str) -> list[Fact]:
            cells = truth.reported(kind, "minute").items()
            return [(cast(datetime, m), said, models[str(device)], 1.0) for (m, device), all_ in cells for said in all_]

        self._errors, self._falls = facts("device_error"), facts("tip_over")
        self._reports: dict[datetime, Counter[str]] = defaultdict(Counter)
        for kind in ("location", "battery", "device_error", "tip_over", "odometer"):
            for (day, device), said in truth.reported(kind, "day").items():
                self._reports[cast(datetime, day)][str(device)] += len(said)
        final = books.should_be_final("device_report", "day")
        self._final = [day for day in sorted(self._reports) if final(day) and day + timedelta(days=1) <= until]
        late = {key for key in truth.came_since(books.looked_at, "day") if key[0] in self._final}
        self._late = {day for day, _ in late}
        self._late_devices = {str(device) for _, device in late}
        self._silent = silent(truth.heard(), self._final[-1]) if self._final else []
        # The map's metric has no minutes: where something fell since it looked last, nothing is certain.
        fallen = truth.came_since(books.looked_at, "minute", "tip_over")
        cells = truth.reported("tip_over", "minute")
        self._late_tiles = {tile(said) for key in fallen for said in cells.get(key, [])}

    def late(self, title: str) -> set[Any]:
        """What a panel may show or not, since it came when its metric had looked."""
        if title == "Silent":
            return {"silent"} if self._late else set()
        if title == "Devices silent by their own period":
            return self._late_devices
        return self._late_tiles if title == "Where vehicles fell" else self._late if "per day" in title else set()

    def expected(self, page: Page) -> dict[str, Cells]:
        """Panel → what it must show."""
        errors, falls = list(page.of(self._errors)), list(page.of(self._falls))
        codes = Counter[str]()
        for _, code, _ in errors:
            codes[code] += 1
        most = {code for code, _ in sorted(codes.items(), key=lambda one: (-one[1], one[0]))[:MOST_CODES]}
        down = [(point, said) for point, said, _ in falls if said.startswith("true")]
        up = [(point, said) for point, said, _ in falls if said.startswith("false")]
        return {
            "Faults": _summed(((point, "errors"), n) for point, _, n in errors),
            "Faults by code": {(code, "Errors"): float(n) for code, n in codes.items()}
            | {(code, "Share"): n / codes.total() for code, n in codes.items()},
            "Faults by code per $bucket": _summed(
                ((point, code if code in most else "all others"), n) for point, code, n in errors
            ),
            "Fallen over": _summed(((point, "fallen"), 1) for point, _ in down),
            "Fallen and set upright per $bucket": _summed(
                [((point, "fallen"), 1.0) for point, _ in down] + [((point, "set upright"), 1.0) for point, _ in up]
            ),
            "Falls by model per $bucket": self._by_model(page),
            "Devices that report, per day": self._reporting(page),
            "Where vehicles fell": self._tiles(page),
            "Silent": {("silent",): float(len(self._silent))},
            "Devices silent by their own period": self._quiet(),
        }

    def _quiet(self) -> Cells:
        """The longest silent first, as many as the table lists; of all models."""
        found: Cells = {}
        for one in sorted(self._silent, key=lambda one: (-one.quiet_s, -one.usual_reports, one.device))[:MOST_SILENT]:
            heard = datetime.fromtimestamp(one.heard_ms / 1000, ZoneInfo(CITY)).strftime("%Y-%m-%d %H:%M")
            found[one.device, heard, "Quiet for"] = one.quiet_s
            found[one.device, heard, "Usually"] = one.period_s
            found[one.device, heard, "Usual reports"] = one.usual_reports
        return found

    def _by_model(self, page: Page) -> Cells:
        fallen = [(m, model, model, n) for m, said, model, n in self._falls if said.startswith("true")]
        return _summed(((point, model), n) for point, model, n in page.of(fallen))

    def _tiles(self, page: Page) -> Cells:
        """All models, which the tiles do not know, with the middle of each."""
        fallen = [(m, tile(said), "", n) for m, said, _, n in self._falls if said.startswith("true")]
        found = _summed(((one, "Fallen"), n) for _, one, n in replace(page, only=None).of(fallen))
        for one in {key[0] for key in found}:
            found[one, "lat"], found[one, "lng"] = middle(one)
        return found

    def _reporting(self, page: Page) -> Cells:
        since = min(page.since, page.until - timedelta(days=14))
        return {
            (day, "devices"): float(len(said))
            for day, said in self._reports.items()
            if since <= day <= page.until and day in self._final
        }
