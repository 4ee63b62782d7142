"""Writes down what changes of closed windows, in the transaction that changes it: before, after and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fleetgauge.postgres import Connection
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import Grain, Level
from fleetgauge.rollup.plan.request import BackfillRequest, OverflowRequest, ReconcileRequest, Request
from fleetgauge.rollup.plan.stages import Reason
from fleetgauge.rollup.sources.port import Row
from fleetgauge.rollup.spans import Span
from fleetgauge.rollup.store.cell_sql import CellStatements, touched
from fleetgauge.rollup.store.emptied_hours import ACCEPTED
from fleetgauge.rollup.store.restatement_sql import RestatementStatements
from fleetgauge.rollup.values import Cell
from fleetgauge.rollup.windows import window_end, window_start

MOST = 10_000
"""Changed values of one level and transaction that are written one by one; more are added up by window and measure."""

_CLOSED = """
SELECT grain, ((closed + reopened) * tstzmultirange(tstzrange(s.b, s.e)))::text FROM fleetgauge.ledger
JOIN unnest(%(grains)s::text[], %(begins)s::timestamptz[], %(ends)s::timestamptz[]) AS s(grain, b, e) USING (grain)
WHERE metric = %(metric)s AND version = %(version)s AND closed + reopened && tstzrange(s.b, s.e)
"""


def why(request: Request, reason: Reason) -> str:
    """What is written down as the reason of a change."""
    match request, reason:
        case BackfillRequest(), _:
            return "backfill"
        case ReconcileRequest(accepting=accepting), _:
            return ACCEPTED if accepting else "reconcile"
        case OverflowRequest(), _:
            return "dimension values expired"
        case _, "asked for":
            return "run of its interval"
        case _, "changed" | "overflow":
            return "late or changed rows"
        case _, "blocked before":
            return "a check passes again"
        case _, "missing":  # what was final is missing only where a run has forgotten what it did by a wrong clock
            return "clock taken back"
        case _:
            return reason


@dataclass(frozen=True)
class Replaced:
    """What became of the touched cells of a level."""

    rows: int
    """How many of them have a row now."""
    differ: int
    """How many of those in final windows differ."""
    losing: Sequence[Span]
    """Of the finest level: final hours (of a metric without hours: days) that lose facts. Of rows that move from cell
    to cell, by the balance of each."""


@dataclass
class RestatementLog:
    """Of one transaction. A window that was closed and is open again for the moment counts as closed.

    Costs one small question to the ledger where nothing closed is replaced.
    """

    connection: Connection[Row]
    definition: Definition
    run_id: int | None = None
    """The run that changes it."""
    _closed: dict[Grain, str] = field(default_factory=dict, init=False)
    _kept: list[tuple[Level, dict[str, Any]]] = field(default_factory=list, init=False)

    def begin(self, spans: Mapping[Grain, Span]) -> None:
        """Rows of windows in the span of their grain are about to be replaced."""
        values = {
            "metric": self.definition.metric,
            "version": self.definition.version,
            "grains": list(spans),
            "begins": [begin for begin, _ in spans.values()],
            "ends": [end for _, end in spans.values()],
        }
        self._closed = dict(self.connection.execute(_CLOSED, values).fetchall())

    def keep(self, level: Level, span: Span) -> None:
        """Keep what is there of the level, before all of the span is replaced."""
        closed = self._closed.get(level.grain)
        if closed is None:
            return
        statements = RestatementStatements(self.definition)
        if not self._kept:
            self.connection.execute(statements.create_replaced())
        values = {"closed": closed, "begin": span[0], "end": span[1]}
        self.connection.execute(statements.keep(level), values)
        self._kept.append((level, values))

    def write(self, reason: str) -> int:
        """Compare with what is there now, and write down what differs; returns how many of the finest cells do."""
        statements = RestatementStatements(self.definition)
        changed = [
            self.connection.execute(statements.compare(level, MOST), {**values, **self._told(reason)}).fetchall()
            for level, values in self._kept
        ]
        return cells_of(changed[0]) if changed else 0

    def replace_touched(self, level: Level, cells: Sequence[Cell], reason: str) -> "Replaced":
        """Make the cells of a level that hold these minute cells anew, and write down what differs in final windows.

        Where final hours lose facts by that, the caller has to undo it.
        """
        one, closed, statements = self.definition, self._closed.get(level.grain), CellStatements(self.definition)
        final = self._closed.get(one.compared) if level.below is None else None
        count, values = touched(one, level, cells)
        told = {**self._told(reason), "closed": closed, "final": final}
        most = MOST if count * len(one.columns) > MOST else None
        query = statements.replace(level, most, closed=closed is not None, weighing=final is not None)
        found: dict[str, list[Row]] = {"told": [], "losing": [], "rows": [], "vanished": []}
        for what, *row in self.connection.execute(query, {**values, **told}):
            found[what].append(tuple(row))
        if found["vanished"][0][2]:
            self.connection.execute(statements.clear(level), values)
        hours = {window_start(at, one.compared, one.time_zone) for at, *_ in found["losing"]}
        losing = sorted((at, window_end(at, one.compared, one.time_zone)) for at in hours)
        return Replaced(found["rows"][0][2], cells_of(found["told"]), losing)

    def _told(self, reason: str) -> dict[str, Any]:
        one = self.definition
        return {"metric": one.metric, "version": one.version, "reason": reason, "run_id": self.run_id}


def cells_of(written: Sequence[Row]) -> int:
    """How many cells the rows (window, dimensions, cells) are of: one has a row for each measure that changed.

    Rows without dimensions are of several cells, and say how many: of a window, at least those of one measure.
    """
    single = {(window, dimensions) for window, dimensions, _ in written if dimensions is not None}
    together: dict[Any, int] = {}
    for window, dimensions, cells in written:
        if dimensions is None:
            together[window] = max(together.get(window, 0), cells)
    return len(single) + sum(together.values())
