"""What every command needs to speak: machine-readable output and logs."""

import json
import math
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import typer

from fleetgauge.errors import Terminal


def print_json(value: Any) -> None:
    """One JSON document on stdout; dates and paths as strings.

    JSON has no NaN and no infinity, and null would mean that there is no number: they are the strings "NaN", "Infinity"
    and "-Infinity", as Postgres writes them.
    """
    typer.echo(json.dumps(_strict(value), indent=2, default=str, allow_nan=False))


def _strict(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {_strict(key): _strict(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(one) for one in value]
    return value


def configure_logging(*, verbose: bool = False, quiet: bool = False) -> None:
    """Structured logs on stderr, as `logs.format` says: by default JSON, but text on a terminal. Once per process.

    `quiet`: warnings and worse only, for a command that tells itself what it does.
    """
    from fleetgauge import settings
    from fleetgauge.observability import logs

    logs.configure(component_of(sys.argv[1:]), settings.log_format(), verbose=verbose, quiet=quiet)


def component_of(arguments: Sequence[str]) -> str:
    """The command that these arguments of `fleetgauge` call, without those below it: `run`, `consume`, `fleet`."""
    words = iter(arguments)
    for word in words:
        if word == "--config":
            next(words, None)
        elif not word.startswith("-"):
            return word
    return "fleetgauge"


def instant(option: str, text: str) -> datetime:
    """An instant in ISO 8601 with its offset from UTC. Raises `Terminal` naming `option`."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise Terminal(
            f"{option} {text!r} is not an instant; write it like 2026-11-21T14:00:00+09:00, or with Z for UTC"
        )
    return found


def duration(option: str, text: str) -> timedelta:
    """A number and ms, s, m, h, d or y. Raises `Terminal` naming `option`."""
    from pydantic import TypeAdapter, ValidationError

    from fleetgauge.rollup.definitions.periods import Period

    try:
        found: timedelta = TypeAdapter(Period).validate_python(text)
    except ValidationError as error:
        said = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise Terminal(f"{option}: {said}") from None
    return found


def utc(instant: datetime | None) -> str:
    """An instant to the minute, in UTC; `-` for none."""
    return "-" if instant is None else f"{instant.astimezone(UTC):%Y-%m-%d %H:%M}Z"


def brief(stretch: timedelta | None) -> str:
    """A stretch of time in its two largest units; `-` for none."""
    if stretch is None:
        return "-"
    seconds = round(stretch.total_seconds())
    for name, size, below, part in (("d", 86_400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if seconds >= size:
            rest = seconds % size // part
            return f"{seconds // size}{name}" + (f" {rest}{below}" if rest else "")
    return f"{seconds}s"


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on a terminal; else plain lines, the columns aligned by spaces."""
    cells = [[str(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*headings)
        for row in cells:
            table.add_row(*(Text(cell) for cell in row))
        Console().print(table)
        return
    widths = [max(len(line[i]) for line in [headings, *cells]) for i in range(len(headings))]
    for line in [headings, *cells]:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
