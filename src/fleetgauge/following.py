"""`fleetgauge run --follow`: the runs of one source in a loop, for numbers that are seconds old.

Each run is the same as a minute run of Airflow's and takes the same locks, so both may work on the same metrics. What
differs is patience: a metric that fails is set aside for a while and stops neither the others nor the process.
"""

import gc
import random
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from fleetgauge import pipeline
from fleetgauge.command_attempts import materialise_commands
from fleetgauge.cost.sim_steps import keep_steps
from fleetgauge.document_sources import event_streams
from fleetgauge.errors import FleetgaugeError, Transient
from fleetgauge.ingest.stopping import StopRequest, on_signals
from fleetgauge.observability.status_server import Http, StatusServer
from fleetgauge.observability.tracing import in_span
from fleetgauge.postgres import Connection
from fleetgauge.progress.round_progress import RoundProgress
from fleetgauge.rollup import COMMANDS, Definition, RunReport
from fleetgauge.rollup.execute.engine import Engine
from fleetgauge.rollup.execute.metrics_run import trace_report
from fleetgauge.rollup.execute.options import RunOptions, connect_metrics
from fleetgauge.rollup.execute.report import severity
from fleetgauge.rollup.execute.run_counts import Progress
from fleetgauge.rollup.execute.session import Reconnecting, Session
from fleetgauge.rollup.execute.summed_runs import SummedRuns
from fleetgauge.rollup.plan.planner import Plan
from fleetgauge.rollup.sources.opened import open_source
from fleetgauge.rollup.sources.port import Row, Source
from fleetgauge.settings import Settings

log = structlog.get_logger(__name__)

EVERY_S = 2.0
"""From the beginning of one round to the next: as often as production writes its heartbeat."""
LONGEST_S = 60.0
"""How long a metric is set aside at most: as often as the minute schedule would try it."""
LOCK_S = 5.0
"""How long another worker on the same metric is waited for, before the others go on."""
LONG = timedelta(days=1)
"""Event time that a run has still to compute, from which on it is not waited for when the process is to stop."""
END_S = 15.0
"""How long a run at work may take to end once the process was asked to stop, and then what is to be written down."""
STALLED_S = 600.0
"""Without any sign of work for so long, `/healthz` fails."""
_CONTENT = ("sql", "schemas", "consumers")
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)


class AskedToStop(Exception):
    """The process was asked to stop while a long run was at work; what is done is done."""


class BrokenOff(BaseException):
    """A run has not ended in time, or was asked to twice; what is done is in transactions."""


@dataclass
class FollowMetrics:
    """What the loop exports, beside what `fleetgauge exporter` tells of the metrics."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        """Make the families."""
        self.rounds = Histogram(
            "fleetgauge_follow_round_seconds", "Duration of a round over all metrics of a source.", ["source"],
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self.skipped = Counter(
            "fleetgauge_follow_skipped_rounds", "Rounds that were due while another was at work. Growing: too slow.",
            ["source"], registry=self.registry,
        )  # fmt: skip
        self.last = Gauge(
            "fleetgauge_follow_last_round_timestamp_seconds", "When the last round ended.", ["source"],
            registry=self.registry,
        )  # fmt: skip
        self.set_aside = Gauge(
            "fleetgauge_follow_set_aside", "1 while a metric waits since its last run failed. Should be 0.", ["metric"],
            registry=self.registry,
        )  # fmt: skip
        ProcessCollector(registry=self.registry)


@dataclass(frozen=True)
class Patience:
    """How a metric is set aside after failures in a row."""

    failures: int = 0
    until: float = 0.0
    """Monotonic seconds."""

    def failed(self, now: float, error: str, dice: Callable[[], float] = random.random) -> "Patience":
        """After one more: what may round by itself doubles its wait, anything else waits as long as the schedule."""
        longest = min(LONGEST_S, EVERY_S * 2 ** min(self.failures, 10)) if error == "transient" else LONGEST_S
        return Patience(self.failures + 1, now + longest * (0.5 + dice() / 2))


def next_round(due: float, now: float, every_s: float) -> tuple[float, int]:
    """When the next round is due, on the grid of the first, and how many were left out since `due` was."""
    missed = max(0, int((now - due) // every_s))
    return due + (missed + 1) * every_s, missed


def stamp(content: Path) -> Mapping[str, tuple[int, int]]:
    """Changes when a file of the content does. Reads no file."""
    found = {}
    for folder in _CONTENT:
        for path in (content / folder).rglob("*"):
            if path.suffix in (".yaml", ".sql", ".json", ".py") and path.is_file():
                state = path.stat()
                found[str(path)] = (state.st_mtime_ns, state.st_size)
    return found


class Follower:
    """The loop of one source. `run` blocks; `healthy` and `ready` may be asked from any thread."""

    def __init__(
        self,
        settings: Settings,
        source: str,
        metrics: Collection[str] = (),
        *,
        every_s: float = EVERY_S,
        stop: StopRequest | None = None,
        exported: FollowMetrics | None = None,
    ) -> None:
        """Reads the content: raises `Terminal` where no metric of the source can be read. Connects to nothing."""
        self.settings, self.source = settings, source
        self._names, self._every = metrics, every_s
        self._stop = stop or StopRequest()
        self._exported = exported or FollowMetrics()
        self._options = replace(RunOptions.of(settings), lock_timeout_s=LOCK_S)
        self._stamp = stamp(settings.content)
        self._definitions = pipeline.chosen(settings, metrics, source)
        self._streams = event_streams(settings.content, self._definitions.values())
        self._opened: Source | None = None
        self.progress = RoundProgress()
        """Where consumers stood when this round first asked."""
        self._sessions: dict[str, tuple[str, Session]] = {}
        self.patience: dict[str, Patience] = {}
        self.runs = SummedRuns(settings)
        self._watermark: datetime | None = None
        """Of the source `commands`, by which its windows may close."""
        self._alive = time.monotonic()
        self._came_round = False
        self._at_work = False

    def healthy(self) -> str | None:
        """For `/healthz`."""
        silent = time.monotonic() - self._alive
        return f"nothing has happened for {silent:.0f} s" if silent > STALLED_S else None

    def ready(self) -> str | None:
        """For `/readyz`."""
        return None if self._came_round else "the first round is at work"

    def run(self) -> None:
        """Round after round until asked to stop. Raises nothing of what a run raises."""
        due = time.monotonic()
        self._at_work = True
        log.info("following", source=self.source, metrics=sorted(self._definitions), every_s=self._every)
        try:
            while not self._stop.asked.is_set():
                self.one_round()
                due, missed = next_round(due, time.monotonic(), self._every)
                self._exported.skipped.labels(self.source).inc(missed)
                self._stop.asked.wait(max(0.0, due - time.monotonic()))
        except AskedToStop:
            log.info("stopped within a long run; the next goes on where it stood", source=self.source)
        except BrokenOff:
            log.warning("a run did not end in time and is broken off; the next goes on where it stood")
        finally:
            try:
                self.close()
            except BrokenOff:
                log.warning("the metrics database does not answer; what the last runs did was not counted")
            self._at_work = False
        log.info("ended", source=self.source)

    def break_off(self) -> None:
        """In the thread of `run`, wherever that is: raises `BrokenOff` within it."""
        if self._at_work:
            raise BrokenOff

    def one_round(self) -> None:
        """One run of each metric that is not set aside. Blocks; raises `AskedToStop` alone."""
        began = time.monotonic()
        self._alive = began
        self._read_again()
        self.progress.forget()
        due = [one for one in self._definitions.values() if self.patience_of(one.metric).until <= began]
        written: list[str] = []
        if due and self._before(due):
            for definition in due:
                if self._stop.asked.is_set():
                    break
                with in_span("run", metric=definition.metric, version=definition.version, grain="minute") as traced:
                    report, error = self._run(definition)
                    self._take(definition, report, error)
                    trace_report(traced, report)
                written += [definition.finest] * bool(report.rows)
                structlog.contextvars.unbind_contextvars("run")
                self._alive = time.monotonic()
        keep_steps(self.settings, written)
        self.runs.tell()
        self._came_round = True
        self._exported.rounds.labels(self.source).observe(time.monotonic() - began)
        self._exported.last.labels(self.source).set_to_current_time()

    def close(self) -> None:
        """Write down what has come together, and give back all connections."""
        self.runs.close()
        for _, session in self._sessions.values():
            session.close()
        if self._opened is not None:
            self._opened.close()

    def patience_of(self, metric: str) -> Patience:
        """How a metric is set aside now."""
        return self.patience.get(metric, Patience())

    def _before(self, due: Collection[Definition]) -> bool:
        """What comes before the runs of this source; False when it failed, and so have all of them."""
        if self.source != COMMANDS:
            return True
        try:
            self._watermark = materialise_commands(self.settings, quiet=True)
        except Exception as error:  # of whatever kind: it must not end the loop
            for one in due:
                self._take(one, RunReport(one.metric, one.version, "minute"), error)
            return False
        return True

    def _run(self, definition: Definition) -> tuple[RunReport, Exception | None]:
        engine: Engine | None = None
        try:
            if self._opened is None:
                self._opened = open_source(
                    self.settings, self.source, self._streams, self._options.clock, self.progress
                )
            engine = self._engine(definition, self._opened)
            asked_before = self.progress.kept
            report = self._one_run(engine)
            if report.deferred and asked_before:  # another worker may have come further than this round has asked
                self.progress.forget()
                engine = self._engine(definition, self._opened)
                report = self._one_run(engine)
            return report, None
        except (AskedToStop, BrokenOff):
            self.runs.interrupted(definition.metric)
            raise
        except Exception as error:  # of whatever kind: it must not stop the other metrics
            return engine.report if engine else RunReport(definition.metric, definition.version, "minute"), error

    def _engine(self, definition: Definition, source: Source) -> Engine:
        return Engine(definition, source, self._connect, self._options, self._watch, self._session(definition))

    def _one_run(self, engine: Engine) -> RunReport:
        def announce(plan: Plan) -> None:
            engine.run_id = self.runs.announce(plan)
            structlog.contextvars.bind_contextvars(run=engine.run_id)

        return engine.run("minute", None, self._watermark, announce)

    def _take(self, definition: Definition, report: RunReport, error: Exception | None) -> None:
        metric, known = definition.metric, self.patience_of(definition.metric)
        if error is not None:
            ours = isinstance(error, FleetgaugeError)
            report.error = str(error) if ours else f"{type(error).__name__}: {error}"
            report.severity = severity(error) if isinstance(error, FleetgaugeError) else "stop"
            self.patience[metric] = found = known.failed(time.monotonic(), report.severity)
            wait = round(found.until - time.monotonic(), 1)
            tell = log.warning if isinstance(error, Transient) else log.error
            tell("run failed", metric=metric, error=report.error, again_in_s=wait, exc_info=None if ours else error)
        elif known.failures:
            log.info("runs again", metric=metric, failures=known.failures)
            del self.patience[metric]
        self._exported.set_aside.labels(metric).set(error is not None)
        if report.windows or report.restated:
            told = report.windows, report.cells, report.rows
            log.info("run", metric=metric, windows=told[0], cells=told[1], rows=told[2], seconds=report.seconds)
        self.runs.take(report, error)

    def _watch(self, progress: Progress) -> None:
        self._alive = time.monotonic()
        if self._stop.asked.is_set() and progress.total - progress.done > LONG:
            raise AskedToStop

    def _connect(self) -> Connection[Row]:
        return connect_metrics(self.settings.metrics, self._options)

    def _session(self, definition: Definition) -> Session:
        """The metric's own, kept between runs; a new version gets another, for its temporary tables differ."""
        version, session = self._sessions.get(definition.metric, ("", None))
        if session is None or version != definition.version:
            if session is not None:
                session.close()
            session = Session(definition, Reconnecting(self._connect), self._options)
            self._sessions[definition.metric] = (definition.version, session)
        return session

    def _read_again(self) -> None:
        """Definitions that are new or have changed; where they cannot be read, those that were read go on."""
        now = stamp(self.settings.content)
        if now == self._stamp:
            return
        self._stamp = now
        try:
            definitions = pipeline.chosen(self.settings, self._names, self.source)
            streams = event_streams(self.settings.content, definitions.values())
        except FleetgaugeError as error:
            log.error("definitions changed and cannot be read; the earlier ones go on", error=str(error))
            return
        for name, one in pipeline.broken(self.settings.content, self.source).items():
            log.error("a metric is not computed, for its definition cannot be read", metric=name, problem=str(one))
        log.info("definitions read again", source=self.source, metrics=sorted(definitions))
        for gone in (self._definitions.keys() - definitions.keys()) & self._sessions.keys():
            self._sessions.pop(gone)[1].close()
            self._exported.set_aside.remove(gone)
        if self._opened is not None and streams != self._streams:
            self._opened.close()
            self._opened = None
        self._definitions, self._streams = definitions, streams
        self.patience.clear()  # what failed may be mended


def follow(
    settings: Settings, source: str, metrics: Collection[str] = (), every_s: float = EVERY_S, http: Http | None = None
) -> None:
    """Follow one source until SIGTERM or Ctrl-C; blocks. Raises `Terminal` before the first round alone."""
    stop, exported = StopRequest(), FollowMetrics()
    follower = Follower(settings, source, metrics, every_s=every_s, stop=stop, exported=exported)
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)  # as for single runs: rows have no cycles
    server = None
    if http is not None:
        server = StatusServer(http, exported.registry, {source: follower.healthy}, {source: follower.ready})
        log.info("serving metrics", source=source, host=http.host, port=server.port)
    try:
        with on_signals(stop, follower.break_off, END_S):
            follower.run()
    finally:
        if server is not None:
            server.close()
