"""Plays the live stretch: what is due by the clock is sent to Kafka and written to the database, until it ends."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from fleetgauge.clock import Clock, SystemClock
from fleetgauge.errors import Transient
from fleetlab.simulator import operations
from fleetlab.simulator.ledger import Ledger
from fleetlab.simulator.publish import Publisher
from fleetlab.simulator.records import Record
from fleetlab.simulator.timeline import Action, Timeline

_TICK_S = 0.2


@dataclass(frozen=True)
class LiveSummary:
    """What was sent and written, and whether the stretch was played to its end."""

    records: int
    actions: int
    complete: bool


def run_live(
    plan: Timeline,
    *,
    primary_url: str,
    kafka_bootstrap: str,
    truth_path: Path,
    stop: threading.Event,
    clock: Clock | None = None,
    topic_prefix: str = "",
    on_tick: Callable[[int, int], None] | None = None,
) -> LiveSummary:
    """Send every record and write every action when it is due; what is overdue already goes first, at once.

    Blocks until `plan.end` or until `stop` is set; runs in any thread. What was really sent and written is added to the
    truth. `on_tick(records, actions)` hears the totals now and then. Raises `Transient` or `Stop` when a server fails.
    """
    clock = clock or SystemClock()
    records = plan.live()
    actions = [a for a in plan.actions() if a.at_ms > plan.live_ms]
    engine = operations.app_engine(primary_url)
    sent = applied = 0
    try:
        publishing = Publisher(kafka_bootstrap, topic_prefix, unkind=plan.scale.unkind, rng=plan.dice.stream("wire", 1))
        with Ledger(truth_path) as ledger, publishing as publisher:
            while not stop.is_set():
                now_ms = int(clock.now().timestamp() * 1000)
                due, sent = _due(records, sent, now_ms)
                if due:
                    ledger.sent(due, publisher.publish(due))
                while applied < len(actions) and actions[applied].at_ms <= now_ms and not stop.is_set():
                    applied += _apply(engine, ledger, actions[applied])
                if on_tick:
                    on_tick(sent, applied)
                if now_ms >= plan.end_ms:
                    return LiveSummary(sent, applied, complete=True)
                stop.wait(_TICK_S)
            return LiveSummary(sent, applied, complete=False)
    finally:
        engine.dispose()


def _due(records: list[Record], begin: int, now_ms: int) -> tuple[list[Record], int]:
    end = begin
    while end < len(records) and records[end].append_ms <= now_ms:
        end += 1
    return records[begin:end], end


def _apply(engine: Engine, ledger: Ledger, action: Action) -> int:
    try:
        with Session(engine) as session, session.begin():
            operations.apply(session, action)
    except OperationalError as error:
        raise Transient(f"the operational database does not answer ({error.orig}); is the stack up?") from error
    ledger.done([action], applied_ms=int(datetime.now(UTC).timestamp() * 1000))
    return 1
