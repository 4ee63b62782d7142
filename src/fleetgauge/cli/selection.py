"""Which metrics and which stretch of time a command is about: the same arguments and the same meaning everywhere."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from fleetgauge.cli import completion
from fleetgauge.errors import Terminal

if TYPE_CHECKING:
    from fleetgauge.rollup import Definition
    from fleetgauge.rollup.spans import Span

Metrics = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="METRIC",
        help="Metrics; without any and without --source all.",
        show_default=False,
        autocompletion=completion.metrics,
    ),
]
AnyMetrics = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="METRIC", help="Metrics; all by default.", show_default=False, autocompletion=completion.metrics
    ),
]
OneMetric = Annotated[
    str | None,
    typer.Argument(
        metavar="METRIC",
        help="This metric alone; all by default.",
        show_default=False,
        autocompletion=completion.metrics,
    ),
]
Metric = Annotated[
    str, typer.Argument(metavar="METRIC", help="The metric.", show_default=False, autocompletion=completion.metrics)
]
Consumer = Annotated[
    str,
    typer.Argument(
        metavar="CONSUMER",
        help="A consumer declared in consumers/, for example device-events.",
        show_default=False,
        autocompletion=completion.consumers,
    ),
]
Consumers = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="CONSUMER",
        help="Consumers declared in consumers/; by default all that this concerns.",
        show_default=False,
        autocompletion=completion.consumers,
    ),
]
OfSource = Annotated[
    str | None, typer.Option("--source", help="The metrics that read this source.", show_default=False)
]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="TIME",
        help="Date or time in ISO 8601; without an offset, in the metric's time zone.",
        show_default=False,
    ),
]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="… up to here, exclusive.", show_default=False)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan, change nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]

_YEARS = (2, 9997)


def span(begin: str | None, end: str | None, definitions: "Collection[Definition]") -> "Span | None":
    """The stretch between --from and --to (UTC), echoed on stderr with its offsets; None if neither is given.

    Raises `Terminal` for one end without the other, for what is no time, for a local time where the metrics' zones
    differ, and for a span that is empty or reversed.
    """
    if begin is None and end is None:
        return None
    if begin is None or end is None:
        raise Terminal("a span has two ends: give both --from and --to")
    found = instant("--from", begin, definitions), instant("--to", end, definitions)
    if found[0] == found[1]:
        raise Terminal(f"the span is empty: --from and --to are both {_shown(found[0])}, and --to is exclusive")
    if found[0] > found[1]:
        raise Terminal(
            f"the span is reversed: --from {_shown(found[0])} is after --to {_shown(found[1])}; turn it round"
        )
    typer.echo(f"span: {_shown(found[0])} to {_shown(found[1])}", err=True)
    return found[0].astimezone(UTC), found[1].astimezone(UTC)


def instant(option: str, text: str, definitions: "Collection[Definition]") -> datetime:
    """The time that was written for `option`, aware; raises `Terminal` for what is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or not _YEARS[0] <= found.year <= _YEARS[1]:
        raise Terminal(
            f"{option} {text!r} is neither a date nor a time of the years {_YEARS[0]} to {_YEARS[1]}; write it like "
            "2026-11-21, 2026-11-21T14:00 (in the metric's time zone) or 2026-11-21T14:00:00+09:00"
        )
    if found.tzinfo is not None:
        return found
    zones = sorted({definition.time_zone for definition in definitions})
    if len(zones) > 1:
        told = ", ".join(f"{zone} ({_first(zone, definitions)})" for zone in zones)
        raise Terminal(f"{option} {text!r} has no offset, and the metrics differ in their time zone: {told}; give one")
    return found.replace(tzinfo=ZoneInfo(zones[0]) if zones else UTC)


def _first(zone: str, definitions: "Collection[Definition]") -> str:
    names = sorted(definition.metric for definition in definitions if definition.time_zone == zone)
    return names[0] if len(names) == 1 else f"{names[0]}, …"


def _shown(at: datetime) -> str:
    return at.isoformat(timespec="seconds" if at.second or at.microsecond else "minutes")
