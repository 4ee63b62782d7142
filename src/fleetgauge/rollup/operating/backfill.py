"""Compute a stretch of the past anew, whatever the ledger says: a local day at a time, on record, to be taken up again.

The record is `backfill_record`. What is frozen stays as it is.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from fleetgauge.errors import FleetgaugeError, Terminal, Transient
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.operating.backfill_record import Outline, Record, Request, recording
from fleetgauge.rollup.operating.estimate import facts_in
from fleetgauge.rollup.options import Options, connect_metrics
from fleetgauge.rollup.passes import activity
from fleetgauge.rollup.passes.engine import Pass
from fleetgauge.rollup.passes.report import Severity, raise_worst, severity
from fleetgauge.rollup.passes.run import open_sources
from fleetgauge.rollup.passes.steps import Tally
from fleetgauge.rollup.sources.port import Source
from fleetgauge.rollup.sources.stream import EventStream
from fleetgauge.rollup.spans import Span
from fleetgauge.settings import Settings

_POLL_S = 1.0


@dataclass(frozen=True)
class Done:
    """One piece is computed."""

    metric: str
    piece: Span
    windows: int
    rows: int
    restated: int
    seconds: float
    left: timedelta
    """The time that is still to be computed, of this metric."""


@dataclass(frozen=True)
class Waiting:
    """A replica is behind; nothing is read until it has caught up."""

    metric: str
    lag: timedelta


def outline_backfill(
    settings: Settings,
    definitions: Iterable[Definition],
    request: Request,
    streams: Mapping[str, EventStream] | None = None,
) -> list[Outline]:
    """What `backfill_metrics` would do. Changes nothing; blocks for one question to each source."""
    found = []
    with open_sources(settings, streams) as opened:
        for definition in definitions:
            with recording(settings, definition, Options()) as record:
                outline = record.outline(request)
            facts = None
            if request.grain == "minute":
                facts = facts_in(opened(definition.source), definition, outline.pieces)
            found.append(replace(outline, facts=facts))
    return found


def backfill_metrics(
    settings: Settings,
    definitions: Iterable[Definition],
    request: Request,
    streams: Mapping[str, EventStream] | None = None,
    options: Options | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Done | Waiting]:
    """Compute the request's span anew, one metric after the other; what is yielded tells how far it is.

    Whoever stops asking, dies or is interrupted leaves a record that the same request takes up. One metric's failure
    does not stop the others; in the end one error is raised that names all. Raises `Terminal` without a reason.
    """
    if not request.reason.strip():
        raise Terminal("a backfill needs a reason, which is kept with it; give --reason")
    options = options or Options()
    url = settings.metrics.url.get_secret_value()
    failures: list[tuple[Severity, str]] = []
    with open_sources(settings, streams) as opened:
        for definition in definitions:
            try:
                source = opened(definition.source)
                with recording(settings, definition, options) as record:
                    one = Pass(definition, source, lambda: connect_metrics(url, options), options)
                    yield from _Work(settings, record, one, source, request, sleep).through()
            except FleetgaugeError as error:
                failures.append((severity(error), f"metric {definition.metric}: {error}"))
    raise_worst(failures)


@dataclass(frozen=True)
class _Work:
    """One metric's backfill while it runs."""

    settings: Settings
    record: Record
    one: Pass
    source: Source
    request: Request
    sleep: Callable[[float], None]

    def through(self) -> Iterator[Done | Waiting]:
        """Do it."""
        outline = self.record.outline(self.request)
        self.record.begin(self.request)
        left = sum((end - begin for begin, end in outline.pieces), timedelta())
        try:
            for piece in reversed(outline.pieces) if self.request.backwards else outline.pieces:
                yield from self._wait()
                began, on_source = time.perf_counter(), self.source.seconds
                tally = self._compute(piece)
                self.record.done(piece)
                left -= piece[1] - piece[0]
                seconds = round(time.perf_counter() - began, 3)
                activity.record_backfill(
                    self.settings, outline.metric, tally.windows, tally.conflicts, self.source.seconds - on_source
                )
                yield Done(outline.metric, piece, tally.windows, tally.rows, tally.restated, seconds, left)
        except FleetgaugeError as error:
            self.record.failed(error)
            raise
        finally:
            self.one.steps.close()
        self.record.finished()
        if blocked := self.record.blocked(self.request.span(self.record.definition)):
            window, check = blocked[0]
            raise Terminal(
                f"check {check!r} is broken in {len(blocked)} window(s), first {window:%Y-%m-%dT%H:%MZ}; they keep "
                "their old rows until source or check is corrected"
            )

    def _compute(self, piece: Span) -> Tally:
        if self.request.grain != "minute":
            self.one.run(self.request.grain, piece)
            return self.one.steps.tally
        self.one.steps.tally = Tally()
        self.one.restate([piece])
        if self.one.report.deferred is not None:
            raise Transient(f"{self.one.report.deferred}; let production write it (sql/source)")
        return self.one.steps.tally

    def _wait(self) -> Iterator[Waiting]:
        limit = self.request.max_lag
        while limit is not None and self.request.grain == "minute":
            with self.source.look(self.record.definition) as facts:
                horizon = facts.horizon
            lag = timedelta() if horizon is None else datetime.now(UTC) - horizon.beat_at
            if lag <= limit:
                return
            yield Waiting(self.record.definition.metric, lag)
            self.sleep(_POLL_S)
