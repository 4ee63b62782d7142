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
    """Structured logs on stderr: JSON lines, or plain text when stderr is a terminal. Call once per process.

    `quiet`: warnings and worse only, for a command that tells itself what it does.
    """
    import logging

    import structlog

    plain = sys.stderr.isatty()
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if plain
        else structlog.processors.JSONRenderer()
    )
    # Without the local variables, which hold payloads and may hold secrets.
    tracebacks = structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    )
    final: list[structlog.types.Processor] = [renderer] if plain else [tracebacks, renderer]
    structlog.configure(
        processors=[*shared, *final],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    # Libraries speak through the standard logger: the same shape, warnings and worse only.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # It warns whenever its own thread did not get the processor for 0.1 s, which under full load is the normal case.
    logging.getLogger("kafka.net.selector").setLevel(logging.ERROR)
    # It tells of every failed request; whoever made the request says so, once.
    logging.getLogger("elastic_transport").setLevel(logging.ERROR)


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
