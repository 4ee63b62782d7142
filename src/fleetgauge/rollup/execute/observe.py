"""What a plan is made from: the ledger's state, and one consistent look at the source."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from fleetgauge.errors import FleetgaugeError
from fleetgauge.progress.clock_samples import METRICS, Clocks
from fleetgauge.progress.pace import Pace
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.execute.evidence import now, read_clocks
from fleetgauge.rollup.execute.options import RunOptions
from fleetgauge.rollup.execute.session import Session
from fleetgauge.rollup.execute.shared_keys import refuse_shared
from fleetgauge.rollup.plan.clock_bounds import TOLERANCE, UNSEEN_STEP, impossible, possible_step, skew, taken_back
from fleetgauge.rollup.plan.look import Look
from fleetgauge.rollup.plan.planner import behind, computing_watermark, refusal
from fleetgauge.rollup.plan.state import State
from fleetgauge.rollup.sources.port import Conflict, Facts, Source
from fleetgauge.rollup.spans import MINUTE, Span, floor
from fleetgauge.rollup.store import emptied_hours, placements
from fleetgauge.rollup.store.state_reader import read_state, shown_before
from fleetgauge.rollup.values import Cursor, Touched
from fleetgauge.rollup.windows import window_start
from fleetgauge.rollup.zone_rules import refuse_differing


class Observer:
    """Asks both sides about one metric. Changes nothing."""

    def __init__(self, definition: Definition, source: Source, session: Session, options: RunOptions) -> None:
        self._definition = definition
        self._source = source
        self._session = session
        self._options = options
        self.clocks = Clocks(options.clock)
        self.conflicts = 0
        """How often the source broke off."""

    def state(self) -> State:
        """The ledger, while no other worker writes it. Raises `Terminal` before `fleetgauge migrate`.

        And where this worker cuts other windows than the metrics database.
        """
        with self._session.locked() as connection:
            at = now(connection)
            self.clocks.note(METRICS, at)
            zone = self._definition.time_zone
            if self._session.first(("zone", zone, at.date())):
                refuse_differing(connection, self._definition.metric, zone, at)
            return read_state(connection, self._definition)

    @property
    def skew_s(self) -> float | None:
        """How far the clocks differ at most, in seconds; None where they are not compared."""
        if self._options.tolerance is None:
            return None
        return round(skew(self.clocks.now()).total_seconds(), 3)

    def look(self, state: State, *, changes: bool = True) -> Look:
        """One look at the source; tries again when it breaks off. `changes`: whether to ask what has changed."""
        pace = Pace(1, self._options.rows_aimed, self._options.tries, self._options.pause_s)
        while True:
            try:
                with self._source.look(self._definition) as facts:
                    name, clocks = self._source.name, self.clocks
                    found = look(facts, name, self._definition, state, self._options, clocks, changes=changes)
                if state.older is not None and found.watermark is not None:
                    found = as_seen_before(found, self._source, self._definition, self._before(), self._counted)
                break
            except Conflict as error:
                self.conflicts += 1
                pace.failed(error)
        if not found.touched.rows:
            return found
        refuse_shared(self._definition, found.touched.rows)
        # After the look, and under the lock: whoever noted a place before this look has then written it down.
        with self._session.locked() as connection:
            places = placements.known(connection, self._definition, found.touched.rows)
        return replace(found, places=tuple(sorted(places)))

    def _before(self) -> Definition | None:
        with self._session.locked() as connection:
            return shown_before(connection, self._definition)

    def _counted(self, before: Definition, span: Span) -> dict[datetime, int]:
        with self._session.locked() as connection:
            return emptied_hours.counted(connection, before, span)


def as_seen_before(
    found: Look,
    source: Source,
    definition: Definition,
    before: Definition | None,
    counted: Callable[[Definition, Span], Mapping[datetime, int]],
) -> Look:
    """The look, with the earliest event as an older version sees it; that may ask for what the source has no more.

    And whether the day of that event is whole. `counted`: the facts that a version has counted, by minute.
    """
    if before is None or before.source != source.name:
        return found
    try:
        with source.look(before) as facts:
            begins = facts.first_event()
            seen = replace(found, source_begins=begins, source_begins_known=True)
            if begins is None or before.finest != "minute":
                return seen
            span = (window_start(begins, "day", definition.time_zone), floor(begins) + MINUTE)
            there = emptied_hours.facts_read(before, facts.windows((floor(begins), span[1])))
            return replace(seen, source_begins_whole=counted(before, span) == {floor(begins): there})
    except Conflict:
        raise
    except FleetgaugeError:  # such as a column that was dropped, for which the definition was changed
        return found


def look(
    facts: Facts,
    source: str,
    definition: Definition,
    state: State,
    options: RunOptions,
    clocks: Clocks,
    *,
    changes: bool,
) -> Look:
    """The questions of a plan, within an open look; `clocks` knows the metrics database's. Blocks; raises `Conflict`.

    Where the plan will be to do nothing, nothing more is asked.
    """
    source_watermark = facts.source_watermark
    if source_watermark is None:
        return Look(source)
    readings = read_clocks(clocks, source, source_watermark, options)
    tolerance = options.tolerance or TOLERANCE
    seen = Look(source, source_watermark.at, source_watermark.heartbeat_at, clocks=readings)
    if refusal(state, seen, tolerance) is not None:
        return seen
    if impossible(state, readings, tolerance):
        state, _ = taken_back(definition, state, seen)
    if behind(source, source_watermark.heartbeat_at, state.heartbeat_at) is not None:
        return seen
    first_event = None if state.begun else facts.first_event()
    lost = facts.lost(state.cursor or state.inherited)
    cursor = Cursor(source_watermark.at - options.overlap, lost.token)
    touched = Touched()
    if changes:
        # Until a first run is through, facts beyond the watermark may be older than any cursor.
        watermark = computing_watermark(definition, source_watermark.at)
        since = state.cursor or cursor
        newer = state.heartbeat_at is None or source_watermark.heartbeat_at > state.heartbeat_at
        if options.clock_steps and newer:  # the same heartbeat again says nothing of the clock since
            step = possible_step(source_watermark.heartbeat_at, readings, tolerance)
            if facts.token is None:  # a clock that was set back and forward again since has left no trace
                step = max(step, UNSEEN_STEP)
            since = replace(since, at=since.at - step)
        touched = facts.touched(since, watermark, first=not state.complete)
        seen = replace(seen, out_of_range=facts.out_of_range(), unfollowed=facts.unfollowed())
    return replace(
        seen, first_event=first_event, touched=touched, lost=lost.spans, unreadable=lost.unreadable, cursor=cursor
    )
