"""Scripts of the law: what an application, its clocks and the workers may do, in any order, and who plays them."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import event
from hypothesis import strategies as st
from rollup_world import QUICK, Crash, Fuse, Off, World

from fleetgauge.errors import Transient
from fleetgauge.rollup import Definition, RunReport
from fleetgauge.rollup.operating.reconcile import reconcile_metrics


@dataclass(frozen=True)
class Insert:
    session: int  # 0 commits at once
    at: timedelta | None  # after the zone's base; None: now, beyond the frontier
    zone: str | None
    kind: str
    score: float | None


@dataclass(frozen=True)
class Change:
    session: int
    which: int
    state: str


@dataclass(frozen=True)
class Move:
    session: int
    which: int
    at: timedelta
    zone: str | None


@dataclass(frozen=True)
class End:
    session: int
    commit: bool


@dataclass(frozen=True)
class Beat:
    pass


@dataclass(frozen=True)
class Lie:
    """A heartbeat of a clock that is wrong, until the next one."""

    by: int  # seconds; beyond the tolerance where it is ahead


@dataclass(frozen=True)
class Run:
    grain: str
    crash: int | None
    after: bool
    workers: int
    interval: tuple[int, int] | None
    clock: int = 0  # seconds by which the worker's is off


def steps(*, moving: bool = False, zones: Sequence[str | None] = ("a", "b", None)) -> st.SearchStrategy[list[Any]]:
    session = st.integers(0, 2)
    insert = st.builds(
        Insert,
        session,
        st.one_of(st.none(), st.integers(0, 6 * 3600).map(lambda s: timedelta(seconds=s))),
        st.sampled_from(zones),
        st.sampled_from(["x", "y"]),
        st.one_of(st.none(), st.sampled_from([-3.5, 0.0, 1e-9, 1.0, 250.0, 1e12])),
    )
    change = st.builds(Change, session, st.integers(0, 50), st.sampled_from(["open", "done", "paid"]))
    run = st.builds(
        Run,
        st.sampled_from(["minute", "minute", "minute", "hour", "day"]),
        st.one_of(st.none(), st.integers(1, 90)),
        st.booleans(),
        st.sampled_from([1, 1, 2]),
        st.one_of(st.none(), st.tuples(st.integers(0, 300), st.integers(1, 120))),
        st.sampled_from([0, 0, 0, 600, -600]),
    )
    move = st.builds(
        Move,
        session,
        st.integers(0, 50),
        st.integers(0, 6 * 3600).map(lambda s: timedelta(seconds=s)),
        st.sampled_from(zones),
    )
    step = st.one_of(
        *([move, move, move] if moving else []),
        insert,
        insert,
        insert,
        change,
        change,
        st.builds(End, st.integers(1, 2), st.booleans()),
        st.builds(Beat),
        st.builds(Lie, st.sampled_from([600, 30, -30, -600])),
        run,
        run,
    )
    script = st.lists(step, min_size=3, max_size=16)
    # A row that is read, moved and read again, whatever else happens.
    read = Run("minute", None, False, 1, None)
    moved = st.tuples(insert, st.just(Beat()), st.just(read), move, script).map(lambda t: [*t[:4], *t[4]])
    return st.one_of(script, moved) if moving else script


class Player:
    """Plays one script and compares whenever a run is through."""

    def __init__(self, world: World, one: Definition, base: datetime) -> None:
        self.world, self.one, self.base = world, one, base
        self.sessions: dict[int, Any] = {}
        self.facts: list[int] = []
        self.past: list[int] = []  # those that are not of now
        self.held: dict[int, int] = {}  # fact → session whose transaction has it locked

    def play(self, script: list[Any], outside: list[tuple[int, bool]]) -> None:
        self.world.forget(self.one)
        self.world.beat()
        try:
            for step in script:
                self.step(step)
            for session in list(self.sessions):
                self.end(session, commit=True)
            self.world.beat()
            self.world.catch_up()
            assert self.world.run(self.one).error is None
            self.world.assert_right(self.one)
            self.assert_closed()
            self.break_contract(outside)
        finally:
            for connection in self.sessions.values():
                connection.close()

    def step(self, step: Any) -> None:
        match step:
            case Insert(session, at, zone, kind, score):
                happened = datetime.now(UTC) if at is None else self.base + at
                fact = self.world.insert(
                    happened, self.connection(session), zone=zone, kind=kind, score=score, length=len(self.facts)
                )
                self.facts.append(fact)
                if at is not None:
                    self.past.append(fact)
                if session:
                    self.held[fact] = session
            case Change(session, which, state) if self.facts:
                fact = self.facts[which % len(self.facts)]
                session = self.held.get(fact, session)
                self.world.change(fact, self.connection(session), state=state)
                if session:
                    self.held[fact] = session
            case Move(session, which, at, zone) if self.facts:
                fact = self.facts[which % len(self.facts)]
                session = self.held.get(fact, session)
                self.world.change(fact, self.connection(session), happened_at=self.base + at, zone=zone)
                if session:
                    self.held[fact] = session
            case End(session, commit) if session in self.sessions:
                self.end(session, commit)
            case Beat():
                self.world.beat()
            case Lie(by):
                self.world.lie(timedelta(seconds=by))
            case Run():
                self.run(step)

    def connection(self, session: int) -> Any:
        if session == 0:
            return None
        if session not in self.sessions:
            self.sessions[session] = self.world.session()
        return self.sessions[session]

    def end(self, session: int, commit: bool) -> None:
        connection = self.sessions.pop(session)
        connection.commit() if commit else connection.rollback()
        connection.close()
        self.held = {fact: s for fact, s in self.held.items() if s != session}

    def run(self, step: Run) -> None:
        self.world.catch_up()
        begin = self.base + timedelta(minutes=step.interval[0]) if step.interval else None
        interval = None if begin is None else (begin, begin + timedelta(minutes=step.interval[1], seconds=20))
        fuses = [Fuse(step.crash, step.after), *(Fuse() for _ in range(step.workers - 1))]
        outcomes: list[Any] = [None] * len(fuses)

        def work(i: int) -> None:
            try:
                options = replace(QUICK, clock=Off(timedelta(seconds=step.clock)))
                with self.world.engine_with(self.one, fuses[i], options) as engine:
                    outcomes[i] = engine.run(step.grain, interval)
            except Crash as crash:
                outcomes[i] = crash
            except AssertionError as error:
                # psycopg's pipeline checks its own state on the way out, over the connection that died under it.
                outcomes[i] = error.__context__ if isinstance(error.__context__, Crash) else error
            except BaseException as error:
                outcomes[i] = error

        threads = [threading.Thread(target=work, args=[i]) for i in range(len(fuses))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for outcome in outcomes:
            if isinstance(outcome, Transient) and "ahead of the other clocks" in str(outcome):
                event("refused")
            elif isinstance(outcome, BaseException) and not isinstance(outcome, Crash):
                raise outcome
        self.nothing_in_the_future()
        event(f"crashed {sum(isinstance(o, Crash) for o in outcomes)} of {len(outcomes)}")
        if step.grain == "minute" and isinstance(outcomes[-1], RunReport) and outcomes[-1].deferred is None:
            self.world.assert_right(self.one)

    def nothing_in_the_future(self) -> None:
        for done in self.world.ledger(self.one, "minute"):
            assert all(r.upper <= datetime.now(UTC) for r in done)

    def break_contract(self, outside: list[tuple[int, bool]]) -> None:
        """Hard deletes, and changes that leave the change column alone: `reconcile` must find them."""
        if not outside or not self.past:
            return
        self.world.settle(self.one)
        for which, deleted in outside:
            fact = self.past[which % len(self.past)]
            self.world.break_contract(fact, deleted=deleted)
        self.world.beat()
        self.world.catch_up()
        span = (self.base - timedelta(hours=1), self.base + timedelta(hours=8))
        report = reconcile_metrics(self.world.settings, [self.one], span, options=QUICK)[0]
        assert report.error is None
        event(f"reconcile found {min(report.different, 2)} hours")
        self.world.assert_right(self.one)

    def assert_closed(self) -> None:
        """All that lies before the source watermark is done and closed, hours and days by their last minute."""
        watermark = self.world.heartbeat()
        for grain in ("minute", "hour", "day"):
            done, closed = self.world.ledger(self.one, grain)
            assert [(r.lower, r.upper) for r in closed] == [(r.lower, r.upper) for r in done]
            assert len(done) == 1
            assert done[0].lower is None
            expected, latest = self.world.metrics.execute(
                "SELECT fleetgauge.window_start(%(at)s, %(grain)s, %(zone)s),"
                " fleetgauge.window_start(%(at)s + %(back)s, %(grain)s, %(zone)s)",
                {"at": watermark, "back": self.world.goes_back, "grain": grain, "zone": self.one.time_zone},
            ).fetchone()
            assert expected <= done[0].upper <= latest
