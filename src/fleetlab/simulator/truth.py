"""What the pipeline should find, computed from what was really sent, by means of its own."""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

from fleetgauge.errors import Terminal
from fleetlab.simulator.bills import Bill, Sent, bill
from fleetlab.simulator.counts import (
    CommandCounts,
    CommandTruth,
    Dimension,
    Grain,
    Key,
    RentalCounts,
    RentalDimension,
    Stream,
    SuddenStop,
    Telemetry,
    Traffic,
    TrafficDimension,
    windows,
)
from fleetlab.simulator.prices import Price, in_force, prices
from fleetlab.simulator.records import EVENTS_TOPIC

TRUTH_FILE = "truth.sqlite"
"""Its name in the folder of the stack that was simulated into."""

_STREAMS: dict[Stream | None, str] = {
    None: "",
    "commands": " AND command_id IS NOT NULL",
    "telemetry": " AND command_id IS NULL",
}
_MINUTE_MS = 60_000
_STATE_COUNTS_MS = 48 * 3_600_000


class Truth:
    """Questions to a truth file. Opens it read-only; may be used while the simulator still writes.

    `until` (aware) keeps only windows that end by it: `until` should be a window's edge. `as_of` is the instant at
    which commands have their status; by default now.
    """

    def __init__(self, path: Path, zone: str = "Asia/Seoul") -> None:
        """Raises `Terminal` when there is no truth at `path`. Hours and days are those of `zone`."""
        if not path.is_file():
            raise Terminal(f"there is no ground truth at {path}; simulate first")
        self._db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)
        self._zone = ZoneInfo(zone)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def span(self) -> tuple[datetime, datetime]:
        """The first and the last append time of the plan: start and end of the timeline."""
        meta = dict(self._db.execute("SELECT key, value FROM meta"))
        return _instant(int(meta["start_ms"])), _instant(int(meta["end_ms"]))

    # Events

    def event_counts(self) -> dict[str, int]:
        """Valid unique events sent, by kind."""
        return dict(self._db.execute("SELECT kind, count(*) FROM events GROUP BY kind ORDER BY kind"))

    def sent_events(self, topic: str | None = None) -> set[tuple[str, str]]:
        """`(device id, event id)` of every valid event, of one topic or all."""
        sql = "SELECT device, event_id FROM events WHERE ?1 IS NULL OR topic = ?1"
        return set(self._db.execute(sql, (topic,)))

    def duplicates(self, topic: str | None = None) -> int:
        """How many records repeat an earlier one."""
        sql = "SELECT count(*) FROM duplicates WHERE ?1 IS NULL OR topic = ?1"
        return int(self._db.execute(sql, (topic,)).fetchone()[0])

    def broken(self, topic: str | None = None) -> set[tuple[str, int, int]]:
        """`(topic, partition, offset)` of every broken record: what should be a dead letter."""
        sql = "SELECT topic, partition, kafka_offset FROM broken WHERE ?1 IS NULL OR topic = ?1"
        return set(self._db.execute(sql, (topic,)))

    def faults(self) -> dict[str, int]:
        """Broken records by what is wrong with them."""
        return dict(self._db.execute("SELECT fault, count(*) FROM broken GROUP BY fault ORDER BY fault"))

    def end_offsets(self) -> dict[tuple[str, int], int]:
        """The offset after the last record sent, by topic and partition."""
        union = " UNION ALL ".join(
            f"SELECT topic, partition, kafka_offset FROM {table}"  # noqa: S608
            for table in ("events", "duplicates", "broken")
        )
        sql = f"SELECT topic, partition, max(kafka_offset) + 1 FROM ({union}) GROUP BY 1, 2"  # noqa: S608
        return {(topic, partition): end for topic, partition, end in self._db.execute(sql)}

    def commands(self, as_of: datetime | None = None) -> list[CommandTruth]:
        """Every command that was sent, as of `as_of`."""
        now_ms = _ms(as_of or datetime.now(UTC))
        rows = self._db.execute(
            "SELECT command_id, type, device, model, firmware, carrier, command_requested_ms, attempt, deadline_ms,"
            " sent_ms, delivered_ms, responded_ms, result,"
            " EXISTS (SELECT 1 FROM attempts c WHERE c.command_id = a.command_id"
            " AND c.responded_ms > c.deadline_ms AND c.result = 'succeeded') FROM attempts a WHERE attempt ="
            " (SELECT max(attempt) FROM attempts b WHERE b.command_id = a.command_id)"
            " ORDER BY command_requested_ms, command_id"
        )
        result = []
        for row in rows:
            identifier, kind, device, model, firmware, carrier, requested_ms, attempts = row[:8]
            deadline_ms, sent_ms, delivered_ms, responded_ms, answer, any_late = row[8:]
            in_time = responded_ms is not None and responded_ms <= deadline_ms
            if in_time:
                status = answer
            elif deadline_ms > now_ms:
                status = "open"
            else:
                status = "expired" if sent_ms is delivered_ms is responded_ms is None else "timed_out"
            late = bool(any_late) and status not in ("open", "succeeded")
            latency = responded_ms - requested_ms if in_time else None
            result.append(
                CommandTruth(
                    identifier, kind, device, model, firmware, carrier, requested_ms, attempts, status, latency, late
                )
            )
        return result

    def command_counts(
        self,
        grain: Grain | None = None,
        dimensions: Sequence[Dimension] = (),
        *,
        until: datetime | None = None,
        as_of: datetime | None = None,
    ) -> dict[Key, CommandCounts]:
        """Commands by window of their request and by dimensions."""
        window, limit, counts = self._window(grain), _limit(until), defaultdict[Key, CommandCounts](CommandCounts)
        for command in self.commands(as_of):
            if command.requested_ms >= limit:
                continue
            cell = counts[(*window(command.requested_ms), *(getattr(command, d) for d in dimensions))]
            cell.requested += 1
            cell.attempts += command.attempts
            setattr(cell, command.status, getattr(cell, command.status) + 1)
            cell.late_success += command.late_success
            if command.status == "succeeded" and command.latency_ms is not None:
                cell.latencies_ms.append(command.latency_ms)
        return dict(counts)

    def traffic(
        self,
        grain: Grain | None = None,
        dimensions: Sequence[TrafficDimension] = ("subject",),
        *,
        until: datetime | None = None,
        stream: Stream | None = "commands",
    ) -> dict[Key, Traffic]:
        """Messages over the air by window of their own time and by dimensions; duplicates count once."""
        window, result = self._window(grain), defaultdict[Key, Traffic](Traffic)
        columns = "".join(f", {d}" for d in dimensions)
        for at_ms, nbytes, *values in self._messages(columns, until, stream):
            cell = result[(*window(at_ms), *values)]
            cell.messages += 1
            cell.bytes += nbytes
        return dict(result)

    def cost_krw(
        self,
        tariffs: Path,
        grain: Grain | None = None,
        dimensions: Sequence[TrafficDimension] = ("subject",),
        *,
        until: datetime | None = None,
        stream: Stream | None = "commands",
    ) -> dict[Key, Decimal]:
        """Exact cost in KRW of `traffic`, message by message, by the tariff files; of those that are so priced."""
        return {key: krw for key, (krw, _) in self._costs(tariffs, grain, dimensions, until, stream).items()}

    def unpriced_messages(
        self,
        tariffs: Path,
        grain: Grain | None = None,
        dimensions: Sequence[TrafficDimension] = ("subject",),
        *,
        until: datetime | None = None,
        stream: Stream | None = "commands",
    ) -> dict[Key, int]:
        """How many messages of `traffic` no tariff has a price for; the same keys as those of `cost_krw`."""
        return {key: count for key, (_, count) in self._costs(tariffs, grain, dimensions, until, stream).items()}

    def _costs(
        self,
        tariffs: Path,
        grain: Grain | None,
        dimensions: Sequence[TrafficDimension],
        until: datetime | None,
        stream: Stream | None,
    ) -> dict[Key, tuple[Decimal, int]]:
        entries, window = prices(tariffs), self._window(grain)
        columns = ", carrier" + "".join(f", {d}" for d in dimensions)
        # Most messages share price and size: count first, multiply afterwards.
        counts: dict[tuple[Key, Price | None, int], int] = defaultdict(int)
        for at_ms, nbytes, carrier, *values in self._messages(columns, until, stream):
            counts[(*window(at_ms), *values), in_force(entries, carrier, at_ms), nbytes] += 1
        costs: dict[Key, tuple[Decimal, int]] = {}
        for (key, entry, nbytes), count in counts.items():
            krw, unpriced = costs.get(key, (Decimal(0), 0))
            if entry is None:
                unpriced += count
            elif entry.rounding == "message":
                krw += count * entry.of(nbytes)
            costs[key] = krw, unpriced
        return costs

    def bill(self, tariffs: Path, until: datetime | None = None) -> Bill:
        """What carriers charge for everything that went over the air, under any rounding, by the tariff files."""
        rows = self._db.execute(
            "SELECT event_ms, coalesce(sim, device), carrier, subject, direction, bytes FROM events"
            " LEFT JOIN sims USING (device) WHERE direction <> '' AND event_ms < ?",
            (_limit(until),),
        )
        return bill((Sent(*row) for row in rows), prices(tariffs), self._zone)

    def sims(self) -> dict[str, str]:
        """The SIM of each device."""
        return dict(self._db.execute("SELECT device, sim FROM sims"))

    def models(self) -> dict[str, str]:
        """The model of each device."""
        return dict(self._db.execute("SELECT device, model FROM sims"))

    def by_sim(self) -> dict[Key, Traffic]:
        """Messages and payload by local day, SIM and carrier; everything that went over the air."""
        window, cells = self._window("day"), defaultdict[Key, Traffic](Traffic)
        sql = "SELECT event_ms, sim, carrier, bytes FROM events JOIN sims USING (device) WHERE direction <> ''"
        for at_ms, sim, carrier, nbytes in self._db.execute(sql):
            cell = cells[(*window(at_ms), sim, carrier)]
            cell.messages += 1
            cell.bytes += nbytes
        return dict(cells)

    def _messages(self, columns: str, until: datetime | None, stream: Stream | None) -> sqlite3.Cursor:
        where = "direction <> '' AND event_ms < ?" + _STREAMS[stream]
        return self._db.execute(f"SELECT event_ms, bytes{columns} FROM events WHERE {where}", (_limit(until),))  # noqa: S608

    def telemetry(self, grain: Grain | None = None) -> dict[Key, Telemetry]:
        """Events by window of their event time, kind and carrier."""
        window, counts = self._window(grain), defaultdict[Key, Telemetry](Telemetry)
        rows = self._db.execute(
            "SELECT event_ms, kind, carrier, bytes, device FROM events WHERE topic = ?", (EVENTS_TOPIC,)
        )
        for event_ms, kind, carrier, size, device in rows:
            cell = counts[(*window(event_ms), kind, carrier)]
            cell.events += 1
            cell.bytes += size
            cell.devices.add(device)
        return dict(counts)

    def heard(self) -> dict[datetime, dict[str, tuple[int, int]]]:
        """How many events each device sent, by day of their event time, and when the last was (ms, device clock)."""
        window, days = self._window("day"), defaultdict[datetime, dict[str, tuple[int, int]]](dict)
        rows = self._db.execute("SELECT event_ms, device FROM events WHERE topic = ?", (EVENTS_TOPIC,))
        for event_ms, device in rows:
            (day,) = window(event_ms)
            count, last_ms = days[day].get(device, (0, event_ms))
            days[day][device] = (count + 1, max(last_ms, event_ms))
        return dict(days)

    # Rentals

    def rental_counts(
        self,
        grain: Grain | None = None,
        dimensions: Sequence[RentalDimension] = (),
        *,
        until: datetime | None = None,
        as_of: datetime | None = None,
    ) -> dict[Key, RentalCounts]:
        """Rentals by window of their start and by dimensions, as written to the database by `as_of`."""
        window, counts = self._window(grain), defaultdict[Key, RentalCounts](RentalCounts)
        columns = "".join(f", {d}" for d in dimensions)
        sql = (
            "SELECT started_ms, ended_ms, end_applied_ms <= ?1, refund_applied_ms <= ?1, distance_m, fare_krw"  # noqa: S608
            f"{columns} FROM rentals WHERE start_applied_ms <= ?1 AND started_ms < ?2"
        )
        rows = self._db.execute(sql, (_limit(as_of), _limit(until)))
        for started_ms, ended_ms, ended, refunded, distance, fare, *values in rows:
            cell = counts[(*window(started_ms), *values)]
            cell.started += 1
            if ended:
                cell.completed += 1
                cell.fare_krw += fare
                cell.distance_m += distance
                cell.durations_s.append((ended_ms - started_ms) // 1000)
            if refunded:
                cell.refunded += 1
                cell.refund_krw += fare
        return dict(counts)

    def payments(self, grain: Grain) -> dict[Key, tuple[int, int, int]]:
        """Payments, failed ones, and KRW that were paid, by window and kind."""
        window, cells = self._window(grain), defaultdict[Key, tuple[int, int, int]](lambda: (0, 0, 0))
        rows = self._db.execute(
            "SELECT ended_ms, 'charge', refused_charges, fare_krw FROM rentals WHERE end_applied_ms IS NOT NULL"
            " UNION ALL SELECT refunded_ms, 'refund', 0, -fare_krw FROM rentals WHERE refund_applied_ms IS NOT NULL"
        )
        for at_ms, kind, failed, krw in rows:
            known = cells[(*window(at_ms), kind)]
            cells[(*window(at_ms), kind)] = (known[0] + failed + 1, known[1] + failed, known[2] + krw)
        return dict(cells)

    def riders(self, grain: Grain) -> dict[Key, tuple[int, int, int, int]]:
        """First rentals, active riders, new and returning ones, by window and zone of a rental's start."""
        window, seen = self._window(grain), defaultdict[Key, list[tuple[str, int]]](list)
        for at_ms, zone, rider, number in self._db.execute("SELECT started_ms, zone, rider, rider_rental FROM rentals"):
            seen[(*window(at_ms), zone)].append((rider, number))
        return {
            key: (
                sum(number == 1 for _, number in found),
                len({rider for rider, _ in found}),
                len({rider for rider, number in found if number == 1}),
                len({rider for rider, number in found if number > 1}),
            )
            for key, found in seen.items()
        }

    def unlocks(self, grain: Grain) -> dict[Key, Counter[str]]:
        """Unlock requests by window and zone: how many had which outcome."""
        window, cells = self._window(grain), defaultdict[Key, Counter[str]](Counter)
        for at_ms, zone, outcome in self._db.execute("SELECT requested_ms, zone, outcome FROM unlock_requests"):
            cells[(*window(at_ms), zone)][outcome] += 1
        return dict(cells)

    def state_events(self, grain: Grain) -> dict[Key, Counter[str]]:
        """Events of vehicles' changes of state, by window and zone: how many of which, in the words of MDS."""
        window, cells = self._window(grain), defaultdict[Key, Counter[str]](Counter)
        for at_ms, zone, events in self._db.execute("SELECT at_ms, zone, events FROM states"):
            cells[(*window(at_ms), zone)].update(events.split())
        return dict(cells)

    def came_since(self, since: datetime, grain: Grain, kind: str | None = None) -> set[Key]:
        """Window and device of events, or of those of a kind, that were appended at or after an instant."""
        window = self._window(grain)
        rows = self._db.execute(
            "SELECT event_ms, device FROM events WHERE append_ms >= ?1 AND (?2 IS NULL OR kind = ?2)",
            (_ms(since), kind),
        )
        return {(*window(at_ms), device) for at_ms, device in rows}

    def reported(self, kind: str, grain: Grain) -> dict[Key, list[str]]:
        """What events of a kind say (see `Record.detail`), by window of their event time and device."""
        window, cells = self._window(grain), defaultdict[Key, list[str]](list)
        rows = self._db.execute("SELECT event_ms, device, detail FROM events WHERE kind = ?", (kind,))
        for at_ms, device, detail in rows:
            cells[(*window(at_ms), device)].append(detail)
        return dict(cells)

    def state_ms(self, grain: Grain) -> dict[Key, int]:
        """Milliseconds by window, state and zone; a state counts until the vehicle's next, for 48 hours at most."""
        window, cells = self._window(grain), defaultdict[Key, int](int)
        for (minute, *cell), ms in self._state_minutes().items():
            cells[(*window(minute * _MINUTE_MS), *cell)] += ms
        return dict(cells)

    def _state_minutes(self) -> dict[tuple[int, str, str], int]:
        held = self._db.execute(
            "SELECT at_ms, min(lead(at_ms, 1, 1 << 62) OVER (PARTITION BY vehicle ORDER BY at_ms, rowid), at_ms + ?),"
            " state, zone FROM states",
            (_STATE_COUNTS_MS,),
        )
        minutes = defaultdict[tuple[int, str, str], int](int)
        # How many more vehicles than before are in a state for the whole minute: most minutes change nothing.
        steps = defaultdict[tuple[str, str], defaultdict[int, int]](lambda: defaultdict(int))
        for at, until, *cell in held:
            begin, end = -(-at // _MINUTE_MS), until // _MINUTE_MS
            if begin > end:
                minutes[end, *cell] += until - at
                continue
            for minute, ms in ((begin - 1, -at % _MINUTE_MS), (end, until % _MINUTE_MS)):
                if ms:
                    minutes[minute, *cell] += ms
            steps[*cell][begin] += 1
            steps[*cell][end] -= 1
        for cell, changes in steps.items():
            vehicles = 0
            for begin, end in pairwise(sorted(changes)):
                vehicles += changes[begin]
                for minute in range(begin, end) if vehicles else ():
                    minutes[minute, *cell] += vehicles * _MINUTE_MS
        return minutes

    def sudden_stops(self) -> list[SuddenStop]:
        """Ageing vehicles that died under their riders, of the rentals that were started."""
        rows = self._db.execute("SELECT * FROM sudden_stops ORDER BY stopped_ms")
        return [SuddenStop(*row) for row in rows]

    def _window(self, grain: Grain | None) -> Callable[[int], tuple[datetime, ...]]:
        return windows(grain, self._zone)


def _ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


def _limit(instant: datetime | None) -> int:
    return _ms(instant) if instant else 1 << 62


def _instant(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
