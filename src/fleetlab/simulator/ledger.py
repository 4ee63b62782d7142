"""Writes down what was really sent and done, while it happens: one SQLite file, read by `truth`."""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from fleetlab.simulator.records import DUPLICATE, VALID, Attempt, Record
from fleetlab.simulator.timeline import Action, Timeline

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE sims (device TEXT PRIMARY KEY, sim TEXT NOT NULL, model TEXT NOT NULL);
-- every valid event once, where its first copy lies
CREATE TABLE events (
    device TEXT NOT NULL, event_id TEXT NOT NULL, kind TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
    kafka_offset INTEGER NOT NULL, event_ms INTEGER NOT NULL, append_ms INTEGER NOT NULL,
    -- traffic: command type or kind, and what went over the air; direction is empty where nothing did
    subject TEXT NOT NULL, carrier TEXT NOT NULL, direction TEXT NOT NULL, bytes INTEGER NOT NULL,
    command_id TEXT, attempt INTEGER, action TEXT NOT NULL,
    -- what the event itself says: an error's code, whether it lies on its side and where, metres, percent
    detail TEXT NOT NULL);
CREATE TABLE duplicates (
    device TEXT NOT NULL, event_id TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
    kafka_offset INTEGER NOT NULL, append_ms INTEGER NOT NULL);
CREATE TABLE broken (
    topic TEXT NOT NULL, partition INTEGER NOT NULL, kafka_offset INTEGER NOT NULL, append_ms INTEGER NOT NULL,
    fault TEXT NOT NULL, PRIMARY KEY (topic, partition, kafka_offset));
-- what the valid events have told about each attempt; a clock is NULL until its event was sent
CREATE TABLE attempts (
    command_id TEXT NOT NULL, attempt INTEGER NOT NULL, type TEXT NOT NULL, device TEXT NOT NULL, model TEXT NOT NULL,
    firmware TEXT NOT NULL, carrier TEXT NOT NULL, command_requested_ms INTEGER NOT NULL, deadline_ms INTEGER NOT NULL,
    requested_ms INTEGER, sent_ms INTEGER, delivered_ms INTEGER, responded_ms INTEGER, result TEXT,
    PRIMARY KEY (command_id, attempt));
-- what was written to the operational database; *_applied_ms: when it was written (backlog: when it happened)
CREATE TABLE rentals (
    id TEXT PRIMARY KEY, vehicle TEXT NOT NULL, zone TEXT NOT NULL, model TEXT NOT NULL,
    started_ms INTEGER NOT NULL, start_applied_ms INTEGER NOT NULL,
    ended_ms INTEGER, end_applied_ms INTEGER, distance_m INTEGER, fare_krw INTEGER,
    refunded_ms INTEGER, refund_applied_ms INTEGER,
    rider TEXT NOT NULL, rider_rental INTEGER NOT NULL, refused_charges INTEGER NOT NULL);
CREATE TABLE unlock_requests (
    zone TEXT NOT NULL, model TEXT NOT NULL, requested_ms INTEGER NOT NULL, outcome TEXT NOT NULL);
-- events: in the words of MDS, with spaces between
CREATE TABLE states (
    vehicle TEXT NOT NULL, state TEXT NOT NULL, zone TEXT NOT NULL, at_ms INTEGER NOT NULL, events TEXT NOT NULL);
-- ageing vehicles that died under their riders
CREATE TABLE sudden_stops (
    device TEXT NOT NULL, model TEXT NOT NULL, rental_id TEXT NOT NULL, stopped_ms INTEGER NOT NULL,
    ended_ms INTEGER NOT NULL);
"""
_REMEMBERED = 50_000
_CLOCKS = {
    "requested": 9,
    "sent": 10,
    "delivered": 11,
    "responded": 12,
}  # column of each step's clock in an attempts row


class Ledger:
    """Appends to the truth. One writer at a time, used from the thread that made it; never blocks for long."""

    def __init__(self, path: Path) -> None:
        """Open a truth file that `create` made."""
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA synchronous = OFF")
        self._attempts: dict[tuple[str, int], list[object]] = {}

    @classmethod
    def create(cls, path: Path, plan: Timeline) -> "Ledger":
        """Begin a new truth at `path`, in place of an older one."""
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        ledger = cls(path)
        ledger._db.execute("PRAGMA journal_mode = WAL")
        ledger._db.executescript(_SCHEMA)
        ledger._db.executemany(
            "INSERT INTO meta VALUES (?, ?)",
            [
                ("scale", json.dumps(asdict(plan.scale))),
                ("start_ms", str(plan.start_ms)),
                ("live_ms", str(plan.live_ms)),
                ("end_ms", str(plan.end_ms)),
                ("tag", plan.dice.tag),
            ],
        )
        ledger._db.executemany(
            "INSERT INTO sims VALUES (?, ?, ?)", [(v.code, v.iccid, v.model.code) for v in plan.world.vehicles]
        )
        return ledger

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def sent(self, records: Sequence[Record], offsets: Sequence[int]) -> None:
        """Records that Kafka has acknowledged, with their offsets."""
        touched: set[tuple[str, int]] = set()
        db = self._db
        db.execute("BEGIN")
        db.executemany(
            "INSERT INTO events VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            [
                (
                    r.device, r.event_id, r.kind, r.topic, r.partition, offset, r.event_ms, r.append_ms,
                    r.subject, r.carrier, r.direction, r.nbytes,
                    r.attempt and r.attempt.command_id, r.attempt and r.attempt.number, r.action, r.detail,
                )
                for r, offset in zip(records, offsets, strict=True)
                if r.fault == VALID
            ],
        )  # fmt: skip
        for record, offset in zip(records, offsets, strict=True):
            if record.fault == VALID:
                if record.attempt is not None:
                    touched.add(self._step(record.attempt, record))
            elif record.fault == DUPLICATE:
                db.execute(
                    "INSERT INTO duplicates VALUES (?,?,?,?,?,?)",
                    (record.device, record.event_id, record.topic, record.partition, offset, record.append_ms),
                )
            else:
                db.execute(
                    "INSERT INTO broken VALUES (?,?,?,?,?)",
                    (record.topic, record.partition, offset, record.append_ms, record.fault),
                )
        db.executemany(
            f"INSERT OR REPLACE INTO attempts VALUES ({','.join('?' * 14)})",  # noqa: S608
            [self._attempts[key] for key in sorted(touched)],
        )
        db.execute("COMMIT")
        if len(self._attempts) > _REMEMBERED:
            self._attempts.clear()  # they can be read back

    def _step(self, attempt: Attempt, record: Record) -> tuple[str, int]:
        key = (attempt.command_id, attempt.number)
        row = self._attempts.get(key)
        if row is None:
            known = self._db.execute("SELECT * FROM attempts WHERE command_id = ? AND attempt = ?", key).fetchone()
            row = self._attempts[key] = list(known) if known else [
                *key, attempt.type, attempt.device, attempt.model, attempt.firmware, attempt.carrier,
                attempt.command_requested_ms, attempt.deadline_ms, None, None, None, None, None,
            ]  # fmt: skip
        row[_CLOCKS[record.action]] = record.event_ms
        if all(row[column] is None for column in range(_CLOCKS["requested"], _CLOCKS[record.action])):
            # the earliest step that is known says what the vehicle was
            known = attempt.described(record.action)
            row[4:7] = known.model, known.firmware, known.carrier
        if record.action == "responded":
            row[13] = attempt.result
        return key

    def done(self, actions: Iterable[Action], applied_ms: int | None = None) -> None:
        """What was written to the operational database, at `applied_ms` (ms; None: when it happened)."""
        db = self._db
        db.execute("BEGIN")
        for action in actions:
            rental, change = action.rental, action.state
            if change is not None:
                db.execute(
                    "INSERT INTO states VALUES (?,?,?,?,?)",
                    (change.vehicle.code, change.state, change.zone.code, change.at_ms, " ".join(change.events)),
                )
            if rental is None:
                continue
            at = action.at_ms if applied_ms is None else applied_ms
            records = action.records
            if action.kind == "start" and records is not None:
                db.executemany(
                    "INSERT INTO unlock_requests VALUES (?,?,?,?)",
                    [(one.zone, one.model, one.requested_ms, one.outcome) for one in records.requests],
                )
                db.execute(
                    "INSERT INTO rentals (id, vehicle, zone, model, started_ms, start_applied_ms, rider, rider_rental,"
                    " refused_charges) VALUES (?,?,?,?,?,?,?,?,?)",
                    (
                        rental.id,
                        rental.vehicle.code,
                        rental.zone.code,
                        rental.vehicle.model.code,
                        rental.started_ms,
                        at,
                        rental.rider.code,
                        records.rider_rental,
                        records.refused_charges,
                    ),
                )
                if rental.stopped_ms is not None:
                    db.execute(
                        "INSERT INTO sudden_stops VALUES (?,?,?,?,?)",
                        (rental.vehicle.code, rental.vehicle.model.code, rental.id, rental.stopped_ms, rental.ended_ms),
                    )
            elif action.kind == "end":
                db.execute(
                    "UPDATE rentals SET ended_ms = ?, end_applied_ms = ?, distance_m = ?, fare_krw = ? WHERE id = ?",
                    (rental.ended_ms, at, rental.distance_m, rental.fare_krw, rental.id),
                )
            else:
                db.execute(
                    "UPDATE rentals SET refunded_ms = ?, refund_applied_ms = ? WHERE id = ?",
                    (rental.refunded_ms, at, rental.id),
                )
        db.execute("COMMIT")

    def finish(self) -> None:
        """Add what makes questions quick; called when the backlog is complete."""
        self._db.execute("CREATE INDEX events_command ON events (command_id)")
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
