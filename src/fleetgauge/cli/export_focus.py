"""`fleetgauge export focus`: the bill beside the cloud's."""

from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from fleetgauge.cli.output import configure_logging, print_json
from fleetgauge.cli.selection import AsJson
from fleetgauge.errors import Terminal


def focus(
    month: Annotated[
        str | None, typer.Option(metavar="YYYY-MM", help="This month alone; all by default.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write to this file, not to stdout.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Write what traffic costs as CSV in the columns of FOCUS 1.0, a row for each day, carrier and charge.

    What has no price is a row of its own: its cost is 0, and x_UnpricedMessages says how many messages it stands for.
    Rows that may still change say x_Provisional.

    \b
    Examples:
      fleetgauge export focus --month 2026-11 --out mobile.csv
      fleetgauge export focus --json
    """
    import sys

    from fleetgauge import settings
    from fleetgauge.cost import cost_queries
    from fleetgauge.cost.focus import COLUMNS, write

    configure_logging()
    rows = cost_queries.focus(settings.load(), None if month is None else _first_day(month))
    if as_json:
        print_json([{name: row.get(name) for name in COLUMNS} for row in rows])
    elif out is None:
        write(rows, sys.stdout)
    else:
        try:
            with out.open("w", encoding="utf-8", newline="") as file:
                count = write(rows, file)
        except OSError as error:
            raise Terminal(f"--out {out}: cannot be written: {error.strerror}; name another file") from None
        typer.echo(f"{out}: {count} rows", err=True)


def _first_day(month: str) -> date:
    try:
        return date.fromisoformat(f"{month}-01")
    except ValueError:
        raise Terminal(f"--month {month!r} is not a month; write it like 2026-11") from None
