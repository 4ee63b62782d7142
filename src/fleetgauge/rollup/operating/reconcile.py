"""Every measure of whole hours, source against tables: finds what no change column tells of.

A hard delete, a row that was changed without its change column, a fault of ours: an hour that differs in any measure
is computed anew as a whole. The source adds up by hour; sketches are compared by their content. Of a metric that has no
hours, read days.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

import structlog

from fleetgauge.errors import FleetgaugeError, Transient
from fleetgauge.postgres import Connection
from fleetgauge.progress.clock_samples import METRICS
from fleetgauge.progress.pace import Pace
from fleetgauge.rollup.definitions.admission import Admission
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.execute import activity
from fleetgauge.rollup.execute.engine import Engine
from fleetgauge.rollup.execute.evidence import now, unbelievable
from fleetgauge.rollup.execute.metrics_run import open_sources
from fleetgauge.rollup.execute.options import RunOptions, connect_metrics
from fleetgauge.rollup.execute.report import Severity, plain, severity
from fleetgauge.rollup.operating import reconcile_progress, repeated_events
from fleetgauge.rollup.plan.describe import to_dict
from fleetgauge.rollup.plan.emptied import Weighed
from fleetgauge.rollup.plan.look import Look
from fleetgauge.rollup.plan.planner import Plan, behind, computing_watermark, plan
from fleetgauge.rollup.plan.request import ReconcileRequest
from fleetgauge.rollup.plan.state import State
from fleetgauge.rollup.sources.port import Behind, Conflict, Row, Source
from fleetgauge.rollup.sources.stream import EventStream
from fleetgauge.rollup.spans import Span, covers, inside
from fleetgauge.rollup.store import emptied_hours
from fleetgauge.rollup.store.erased_prints import leave_out_erased
from fleetgauge.rollup.store.restatement_sql import RestatementStatements
from fleetgauge.rollup.store.state_reader import read_state
from fleetgauge.rollup.store.store_sql import Statements
from fleetgauge.rollup.values import Repeated, Touched
from fleetgauge.rollup.windows import windows
from fleetgauge.rollup.zone_rules import refuse_differing
from fleetgauge.settings import Settings

log = structlog.get_logger(__name__)

_LONGEST = 24
"""Hours that are compared at once, at most."""
_SHOWN = 50

_CHANGED = "changed since the last run, which the next one applies"
_NOT_COMPUTED = "not computed yet"
_WITHHELD = "a broken check withholds a cell of it"
_EXPIRED = "its source or its rows have expired"
_LOST = "its source has lost facts of it"
EMPTIED = "its source has lost most of its facts; it keeps its numbers, until --accept-losses or metrics accept"


@dataclass(frozen=True)
class Difference:
    """One hour and one combination of dimension values whose numbers do not agree."""

    window_start: datetime
    dimensions: Mapping[str, str]
    measure: str
    stored: str | None
    """None: no value, or no row. Sketches are shown by their count or estimates."""
    source: str | None


@dataclass(frozen=True)
class Skipped:
    """One hour that was not compared."""

    window_start: datetime
    reason: str


@dataclass(frozen=True)
class Reconciliation:
    """What comparing a metric found."""

    metric: str
    hours: int = 0
    """Hours compared: those that are computed, and whose source and rows are still kept."""
    not_compared: Mapping[str, int] = field(default_factory=dict)
    """How many hours were not, by reason; the next run or the next comparison gets to most."""
    skipped: tuple[Skipped, ...] = ()
    """The first of them that will be different from what is compared: those that have just changed."""
    resumed: int = 0
    """Hours that an interrupted comparison, with which this one goes on, had compared already."""
    conflicts: int = 0
    """How often the source broke off; it was asked again, for less at a time."""
    different: int = 0
    """Hours of them that differed."""
    restated: bool = False
    """Whether they were computed anew."""
    differences: tuple[Difference, ...] = ()
    """The first of them."""
    plans: tuple[Plan, ...] = ()
    """What was executed for them; with a dry run, what would be."""
    repeated: Repeated | None = None
    """What a sample of its events says about those that are stored twice; None where nothing can be."""
    error: str | None = None
    severity: Severity | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values; instants as ISO 8601."""
        found: dict[str, Any] = plain(asdict(replace(self, plans=())))
        return found | {"plans": [to_dict(one) for one in self.plans]}


def reconcile_metrics(
    settings: Settings,
    definitions: Iterable[Definition],
    span: Span,
    *,
    dry_run: bool = False,
    anew: bool = False,
    accept_losses: bool = False,
    options: RunOptions | None = None,
    streams: Mapping[str, EventStream] | None = None,
) -> list[Reconciliation]:
    """Compare every metric's hours in `span` (aware) with its source, one metric after the other; blocks.

    Hours that differ are computed anew unless it is a dry run. One that was interrupted goes on where it stood, unless
    `anew`. Hours of which the source has lost most facts stay as they are, unless `accept_losses`. One metric's failure
    does not stop the others.
    """
    options = options or RunOptions.of(settings)
    found: list[Reconciliation] = []
    with open_sources(settings, streams, options.clock) as opened:
        for one in definitions:
            if dry_run:
                found.append(_one(settings, one, span, opened, options, None, accept_losses=accept_losses))
                continue
            with activity.logged(settings, "reconcile", one.metric, one.version, "minute") as run:
                report = _one(settings, one, span, opened, options, run, anew=anew, accept_losses=accept_losses)
                run.counts = {"reconciled": report.hours, "differed": report.different}
            found.append(report)
    return found


def _one(
    settings: Settings,
    definition: Definition,
    span: Span,
    opened: Callable[[str], Source],
    options: RunOptions,
    run: activity.Run | None,
    *,
    anew: bool = False,
    accept_losses: bool = False,
) -> Reconciliation:
    try:
        source = opened(definition.source)
        engine = Engine(definition, source, lambda: connect_metrics(settings.metrics, options), options)
        return reconcile(engine, span, run, anew=anew, accept_losses=accept_losses)
    except FleetgaugeError as error:
        if run is not None:
            run.failed(error)
        return Reconciliation(definition.metric, error=str(error), severity=severity(error))


def reconcile(
    engine: Engine, span: Span, run: activity.Run | None, *, anew: bool = False, accept_losses: bool = False
) -> Reconciliation:
    """Compare the hours that `span` (aware instants) touches, a day at a time; restate those that differ.

    Without a `run` nothing is changed. One that was interrupted goes on where it stood, unless `anew`. What has changed
    since the last run is left to the next one. Blocks. What fails is told in the report.
    """
    work = _Comparing(engine, run, Reconciliation(engine.definition.metric, restated=run is not None), accept_losses)
    try:
        work.through(span, anew=anew)
    except FleetgaugeError as error:
        work.found = replace(work.found, error=str(error), severity=severity(error))
        if run is not None:
            run.failed(error)
    finally:
        engine.close()
    return work.found


@dataclass
class _Comparing:
    """One metric's comparison while it is made."""

    engine: Engine
    run: activity.Run | None
    found: Reconciliation
    accept_losses: bool = False
    """Whether what the source has lost is taken for deleted."""

    def through(self, span: Span, *, anew: bool) -> None:
        """Compare what is left of it; raises what breaks it off."""
        options = self.engine.options
        pace = Pace(_LONGEST, options.rows_aimed, options.tries, options.pause_s)
        left = self._left(span, anew=anew)
        while left:
            piece = _adjacent(left, min(pace.size, _LONGEST))
            try:
                compared = _compare(self.engine, (piece[0][0], piece[-1][1]), accept_losses=self.accept_losses)
            except Conflict as error:
                self.found = replace(self.found, conflicts=self.found.conflicts + 1)
                pace.failed(error)
                continue
            pace.succeeded(compared.rows)
            self.found = _and(self.found, compared)
            if self.run is not None:
                with self.engine.session.locked() as connection:
                    emptied_hours.forget(connection, self.engine.definition, [begin for begin, _ in compared.hours])
                    emptied_hours.note(connection, self.engine.definition, compared.emptied)
            self._restate(compared)
            if self.run is not None:
                with self.engine.session.locked() as connection:
                    reconcile_progress.compared(connection, self.engine.definition, compared.hours)
            left = left[len(piece) :]
        self._look_for_repeated()
        if self.run is not None:
            with self.engine.session.locked() as connection:
                began = reconcile_progress.finish(connection, self.engine.definition)
            if began is not None:
                self.run.states = {"reconciled_at": began.isoformat()}

    def _look_for_repeated(self) -> None:
        definition = self.engine.definition
        if definition.documents is None:
            return
        with self.engine.source.look(definition) as facts:
            mark = facts.source_watermark
            repeated = None if mark is None else facts.repeated(mark.at)
        self.found = replace(self.found, repeated=repeated)
        if repeated is not None and self.run is not None:
            with self.engine.session.locked() as connection:
                repeated_events.record(connection, definition, repeated)

    def _left(self, span: Span, *, anew: bool) -> list[Span]:
        definition = self.engine.definition
        hours = windows(span, definition.compared, definition.time_zone) if span[0] < span[1] else []
        if self.run is None or not hours:
            return hours
        with self.engine.session.locked() as connection:
            known = covers(reconcile_progress.take_up(connection, definition, span, anew=anew))
        left = [hour for hour in hours if not known(hour[0])]
        self.found = replace(self.found, resumed=len(hours) - len(left))
        return left

    def _restate(self, compared: "_Compared") -> None:
        wrong = {difference.window_start for difference in compared.differences}
        if not wrong or compared.look is None:
            return
        hours = tuple(hour for hour in compared.hours if hour[0] in wrong)
        request = ReconcileRequest(hours, self.accept_losses)
        planned = plan(self.engine.definition, compared.state, compared.look, request)
        self.found = replace(self.found, plans=(*self.found.plans, planned))
        if self.run is None:
            return
        log.warning("hours differ from their source", metric=self.engine.definition.metric, hours=len(wrong))
        self.engine.run_id = self.run.begin([planned])
        executor = self.engine.executor(planned)
        try:
            executor.execute()
        finally:
            self.run.add(executor.tally)


def _adjacent(hours: Sequence[Span], most: int) -> Sequence[Span]:
    """The first of them without a gap, at most so many."""
    n = 1
    while n < min(most, len(hours)) and hours[n][0] == hours[n - 1][1]:
        n += 1
    return hours[:n]


def _and(found: Reconciliation, compared: "_Compared") -> Reconciliation:
    """With what comparing another piece has found."""
    just = [one for one in compared.skipped if one.reason in (_CHANGED, EMPTIED)]
    return replace(
        found,
        hours=found.hours + len(compared.hours),
        different=found.different + len({difference.window_start for difference in compared.differences}),
        differences=(*found.differences, *compared.differences)[:_SHOWN],
        not_compared=dict(Counter(found.not_compared) + Counter(one.reason for one in compared.skipped)),
        skipped=(*found.skipped, *just)[:_SHOWN],
    )


@dataclass(frozen=True)
class _Compared:
    """What comparing one piece found, and what it was seen with."""

    state: State
    look: Look | None = None
    hours: Sequence[Span] = ()
    """Those that can be compared."""
    differences: Sequence[Difference] = ()
    skipped: Sequence[Skipped] = ()
    rows: int = 0
    """What the source gave."""
    emptied: Sequence[Weighed] = ()
    """Those that have lost their facts there."""


def _compare(engine: Engine, span: Span, *, accept_losses: bool) -> _Compared:
    definition, source = engine.definition, engine.source
    with engine.session.locked() as connection:
        refuse_differing(connection, definition.metric, definition.time_zone, now(connection))
        state = read_state(connection, definition)
        hours = windows(span, definition.compared, definition.time_zone)
        computed = covers(state.done[definition.compared])
        skipped = [Skipped(begin, _EXPIRED) for begin, _ in hours if state.ages.frozen(begin)]
        kept = [hour for hour in hours if not state.ages.frozen(hour[0])]
        skipped += [Skipped(begin, _NOT_COMPUTED) for begin, _ in kept if not computed(begin)]
        kept = [hour for hour in kept if computed(hour[0])]
        withheld = {begin for begin, end in kept for b in state.blocked if begin <= b.window_start < end}
        skipped += [Skipped(begin, _WITHHELD) for begin in sorted(withheld)]
        done = {begin for begin, _ in kept} - withheld
        if not done or state.cursor is None:
            return _Compared(state, skipped=skipped)
        edges = [hours[0][0], *(end for _, end in hours)]
        with source.look(definition) as facts:
            if facts.source_watermark is None:
                raise Conflict(f"source {source.name} has shown no heartbeat; let production write it (sql/source)")
            engine.clocks.note(METRICS, now(connection))
            refused = unbelievable(engine.clocks, source.name, facts.source_watermark, engine.options)
            if refused is not None:
                raise Transient(refused)
            look = Look(source.name, facts.source_watermark.at, facts.source_watermark.heartbeat_at)
            older = behind(source.name, facts.source_watermark.heartbeat_at, state.heartbeat_at)
            if older is not None:
                raise Behind(older)
            lost = facts.lost(state.cursor).spans
            pending = facts.touched(
                state.cursor, computing_watermark(definition, facts.source_watermark.at), first=False
            )
            totals = facts.totals(edges)
        ages = state.ages.without(lost, definition.time_zone)
        gone = {at for at, end in hours if at in done and any(b < end and at < e for b, e in ages.lost)}
        skipped += [Skipped(begin, _LOST) for begin in sorted(gone)]
        done -= gone
        fit = [h for h in hours if h[0] in done and not _concerns(pending, h)]
        compared = {begin for begin, _ in fit}
        skipped += [Skipped(begin, _CHANGED) for begin in sorted(done - compared)]
        _stage(connection, definition, Admission(definition, state.admitted), edges, totals)
        held: list[Weighed] = []
        if not accept_losses:
            level = next(one for one in definition.levels if one.name == definition.compared)
            weighed = [
                one for one in emptied_hours.weigh(connection, definition, level, span) if one.window_start in compared
            ]
            held = emptied_hours.lost(connection, definition, weighed)
            skipped += [Skipped(one.window_start, EMPTIED) for one in held]
            compared -= {one.window_start for one in held}
            fit = [h for h in fit if h[0] in compared]
        state = replace(state, emptied=tuple(one for one in state.emptied if one.window_start not in compared))
        query = RestatementStatements(definition).differences()
        rows = connection.execute(query, {"hours": list(compared)}).fetchall()
    found = [Difference(at, {n: of[n] for n in definition.dimensions}, *values) for at, of, *values in rows]
    return _Compared(state, look, fit, found, skipped, len(totals), held)


def _stage(
    connection: Connection[Row],
    definition: Definition,
    admission: Admission,
    edges: Sequence[datetime],
    totals: Iterable[Row],
) -> None:
    """The source's rows into `staged`, by hour, their dimensions as they are stored."""
    n, statements = len(definition.dimensions), Statements(definition)
    connection.execute(statements.create_staged())
    with connection.cursor().copy(statements.copy_staged()) as copy:
        for stretch, *values in totals:
            copy.write_row((edges[stretch], *admission.resolve(tuple(values[:n])), *values[n:]))
    leave_out_erased(connection, definition)


def _concerns(pending: Touched, hour: Span) -> bool:
    """Whether the next run will change something of the hour anyway."""
    return any(begin < hour[1] and hour[0] < end for begin, end in pending.spans) or any(
        inside(cell[0], [hour]) for cell in pending.cells
    )
