"""`fleetgauge report`: what the numbers come to, on the terminal, as JSON and as a page."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleetgauge.cli.output import duration, print_json
from fleetgauge.cli.selection import AsJson, From, To
from fleetgauge.errors import Terminal

if TYPE_CHECKING:
    from fleetgauge.reports.fleet_report import Asked

_LAST = "7d"


def _sections() -> list[str]:
    from fleetgauge.reports.fleet_report import SECTIONS

    return list(SECTIONS)


def report(
    sections: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SECTION",
            help="Any of commands, firmware, fleet, business; all by default.",
            show_default=False,
            autocompletion=_sections,
        ),
    ] = None,
    last: Annotated[
        str | None,
        typer.Option(
            "--last",
            metavar="TIME",
            help=f"So long, up to where the numbers are final; by default {_LAST}. Or --from and --to.",
            show_default=False,
        ),
    ] = None,
    begin: From = None,
    end: To = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write it as one page that needs no network.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what costs most and which way that goes, where commands fail, which firmware is worse, who is a suspect.

    All numbers are those of the schema `metrics`, as the dashboards show them. A trend is against the equally long
    period before. Intervals and tests allow for small samples and for how many comparisons are made.

    \b
    Examples:
      fleetgauge report --html report.html
      fleetgauge report commands firmware --last 28d
      fleetgauge report business --from 2026-11-01 --to 2026-12-01 --json
    """
    from fleetgauge import settings
    from fleetgauge.reports.fleet_report import make_report

    if html is not None:
        from fleetgauge.reports import page  # what it needs is missed before anything is read
    found = make_report(settings.load(), _asked(sections, last, begin, end)).to_dict()
    if html is not None:
        page.write(found, html)
        typer.echo(f"written to {html.resolve()}", err=True)
    if as_json:
        print_json(found)
    elif html is None:
        from rich.console import Console

        from fleetgauge.reports.terminal import draw_report

        draw_report(found, Console(width=None if sys.stdout.isatty() else 160, highlight=False))


def _asked(sections: list[str] | None, last: str | None, begin: str | None, end: str | None) -> "Asked":
    from fleetgauge import pipeline, settings
    from fleetgauge.cli.selection import span
    from fleetgauge.reports.fleet_report import Asked

    chosen = Asked().sections if not sections else tuple(dict.fromkeys(sections))
    length = duration("--last", last or _LAST)
    if begin is None and end is None:
        return Asked(chosen, length=length)
    if last is not None:
        raise Terminal(
            "--last ends where the numbers are final, and --from and --to say otherwise; give one or the other"
        )
    between = span(begin, end, pipeline.chosen(settings.load(), ()).values())
    return Asked(chosen) if between is None else Asked(chosen, *between)
