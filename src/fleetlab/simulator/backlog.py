"""Writes the past of the company: database rows and Kafka records up to the live stretch."""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fleetlab.simulator import operations
from fleetlab.simulator.ledger import Ledger
from fleetlab.simulator.publish import Publisher, broker_tells_time, create_topics
from fleetlab.simulator.timeline import Timeline


class Progress(Protocol):
    """Told how far the loading is; `done` of `total` steps of a stage."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Called from the loading thread; must not block."""
        ...


def _silent(stage: str, done: int, total: int) -> None:
    pass


@dataclass(frozen=True)
class LoadSummary:
    """What was written, and how long it took in seconds."""

    records: int
    rows: int
    seconds: float


def load_backlog(
    plan: Timeline,
    *,
    primary_url: str,
    dba_url: str,
    kafka_bootstrap: str,
    truth_path: Path,
    source_sql: Path = Path("sql/source"),
    topic_prefix: str = "",
    progress: Progress = _silent,
) -> LoadSummary:
    """Create the operational database's tables and the topics, then write everything up to `plan.live_from`.

    `primary_url` is the app's login (`scooter_app`), `dba_url` a superuser of the same database. `topic_prefix` goes
    before each topic's name on the wire, so that several companies can share a broker; the truth does without. Blocks
    for some 20 seconds at the default scale. Raises `Terminal` when the database already holds rentals, `Transient`
    when a server is away.
    """
    begun = time.monotonic()
    engine = operations.app_engine(primary_url)
    operations.create_schema(engine)
    engine.dispose()
    operations.run_source_sql(dba_url, source_sql)
    create_topics(kafka_bootstrap, topic_prefix)
    progress("database", 0, 1)
    rows = operations.copy_history(primary_url, plan)
    progress("database", 1, 1)
    total = 0
    with (
        Ledger.create(truth_path, plan) as ledger,
        Publisher(kafka_bootstrap, topic_prefix, unkind=plan.scale.unkind, rng=plan.dice.stream("wire")) as publisher,
        _no_collection(),
    ):
        ledger.done(a for a in plan.actions() if a.at_ms <= plan.live_ms)
        slices = plan.slices
        for number, records in enumerate(plan.backlog()):
            progress("events", number, slices)
            ledger.sent(records, publisher.publish(records))
            total += len(records)
        progress("events", slices, slices)
        ledger.finish()
    broker_tells_time(kafka_bootstrap, topic_prefix)
    return LoadSummary(total, rows, time.monotonic() - begun)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Hundreds of thousands of tuples without a cycle: the collector would only walk them again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
