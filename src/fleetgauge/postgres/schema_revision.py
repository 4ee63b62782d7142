"""Which migration of the metrics database this package goes with: another one's writers would spoil its numbers.

Here, and not with the migrations, since all parts that write there compare it under their own lock.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, LiteralString

from fleetgauge.errors import Terminal
from fleetgauge.postgres import Connection, errors

_MIGRATIONS = Path(__file__).parents[1] / "rollup" / "store" / "migrations" / "versions"
_NONE = "the metrics database has no schema of ours; run fleetgauge migrate"


@cache
def newest() -> str:
    """The revision of the newest migration, which begins its file's name. Reads names of files only."""
    return max(file.name[:4] for file in _MIGRATIONS.glob("[0-9]*.py"))


def problem(revision: str) -> tuple[str, str] | None:
    """What is wrong with a database of that revision, and what to do about it; None if it is this package's."""
    ours = newest()
    if revision == ours:
        return None
    if revision > ours:
        return f"is at migration {revision}, of a newer fleetgauge: this one knows {ours}", "update this one"
    return f"is at migration {revision}, not {ours}", "run fleetgauge migrate"


def require(revision: str) -> None:
    """Raises `Terminal` where `problem` finds one."""
    found = problem(revision)
    if found is not None:
        raise Terminal(f"the metrics database {found[0]}; {found[1]}")


def check(connection: Connection[Any], also: LiteralString = "true", values: Sequence[object] = ()) -> bool:
    """`require` of a database. Called by whoever writes numbers, in each transaction: a worker may outlive a release.

    `also`: a condition that is asked with it; whether it holds. Raises `Terminal`, also where nothing is migrated.
    """
    try:
        row = connection.execute(
            f"SELECT version_num, {also} FROM fleetgauge.alembic_version",  # noqa: S608
            values,
        ).fetchone()
    except errors.UndefinedTable as error:
        raise Terminal(_NONE) from error
    if row is None:
        raise Terminal(_NONE)
    require(row[0])
    return bool(row[1])
