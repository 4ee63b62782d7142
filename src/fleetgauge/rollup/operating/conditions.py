"""What can be wrong, late or withheld about a metric's numbers beside lateness: one list, for all that tell it.

`freshness` takes its verdict from here, `doctor` its lines, the exporter its gauge `fleetgauge_rollup_condition`; so
nothing is told in one place and missing in another. To add one: a function that asks the metrics database, and an entry
in `CONDITIONS`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from fleetgauge.postgres import Connection
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.execute.report import Severity, told_blocked
from fleetgauge.rollup.operating.attention import fillings, omissions
from fleetgauge.rollup.store.state_reader import blocked

Verdict = Literal["ok", "warn", "error"]
_ORDER: tuple[Verdict, ...] = ("ok", "warn", "error")

Found = tuple[int, str] | None
"""How many, and one sentence that names the first; None if there is none."""


@dataclass(frozen=True)
class Condition:
    """One way in which numbers are not what they should be."""

    name: str
    """The exporter's label."""
    verdict: Verdict
    """What `freshness` says at least while it holds."""
    severity: Severity
    """How `freshness` ends where that is `error`: as a run ends that meets it."""
    meaning: str
    remedy: str
    find: Callable[[Connection[Any], Definition], Found]


@dataclass(frozen=True)
class Told:
    """A condition that holds for a metric."""

    condition: Condition
    metric: str
    count: int
    said: str


def _blocked(connection: Connection[Any], definition: Definition) -> Found:
    cells = blocked(connection, definition)
    return (len(cells), told_blocked(cells)) if cells else None


def _failing(connection: Connection[Any], definition: Definition) -> Found:
    row = connection.execute(
        "SELECT error FROM fleetgauge.activity WHERE metric = %s AND error IS NOT NULL", [definition.metric]
    ).fetchone()
    return None if row is None else (1, f"its last run failed: {row[0]}")


def _deferred(connection: Connection[Any], definition: Definition) -> Found:
    row = connection.execute(
        "SELECT deferred FROM fleetgauge.activity WHERE metric = %s AND deferred IS NOT NULL", [definition.metric]
    ).fetchone()
    return None if row is None else (1, f"its last run was put off: {row[0]}")


def _left_out(connection: Connection[Any], definition: Definition) -> Found:
    found = omissions(connection, definition)
    return (sum(one.count for one in found), "; ".join(map(str, found))) if found else None


def _nearly_full(connection: Connection[Any], definition: Definition) -> Found:
    found = [one for one in fillings(connection, definition) if one.matters]
    return (len(found), "; ".join(map(str, found))) if found else None


CONDITIONS: tuple[Condition, ...] = (
    Condition(
        "blocked",
        "error",
        "terminal",
        "Cells keep old rows, since their new ones broke a `fail` check; their windows are not final.",
        "correct the source's rows, or the check in metric.yaml",
        _blocked,
    ),
    Condition(
        "failing",
        "error",
        "transient",
        "The last run failed; the numbers are those of an earlier one.",
        "see the message, and the task's log",
        _failing,
    ),
    Condition(
        "deferred",
        "warn",
        "transient",
        "The last run was put off, since the source could not say how far it is.",
        "see whether production writes its heartbeat and the replica keeps up",
        _deferred,
    ),
    Condition(
        "left_out",
        "warn",
        "terminal",
        "Rows of the source are in no number, since they can't be counted: not finite, too large, an absurd time.",
        "correct the rows that are named",
        _left_out,
    ),
    Condition(
        "dimension_limit",
        "warn",
        "terminal",
        "A dimension has 80 % of its values or more; beyond its limit, values are counted together.",
        "raise the limit in metric.yaml, or expire values that are no more (fleetgauge dimensions expire)",
        _nearly_full,
    ),
)
"""In the order in which they are told."""


def conditions(connection: Connection[Any], definition: Definition) -> Iterator[Told]:
    """Those that hold for a metric. Blocks for a short question each."""
    for condition in CONDITIONS:
        found = condition.find(connection, definition)
        if found is not None:
            yield Told(condition, definition.metric, *found)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The gravest; `ok` of none."""
    return max(verdicts, key=_ORDER.index, default="ok")
