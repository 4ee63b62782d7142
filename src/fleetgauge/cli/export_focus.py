"""`fleetgauge export focus`: the bill beside the cloud's."""

from datetime import date
from pathlib import Path
from typing import Annotated, Literal
from uuid import uuid4

import typer

from fleetgauge.cli.output import configure_logging, print_json
from fleetgauge.cli.selection import AsJson
from fleetgauge.errors import Terminal


def focus(
    month: Annotated[
        str | None, typer.Option(metavar="YYYY-MM", help="This month alone; all by default.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write to this file, not to stdout.", show_default=False)] = None,
    file_format: Annotated[
        Literal["csv", "parquet"] | None,
        typer.Option("--format", help="Of the file; by its name unless said, else csv.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write what traffic costs in the columns of FOCUS 1.0, as CSV or Parquet: a row for each day, carrier and charge.

    What has no price is a row of its own: its cost is 0, and x_UnpricedMessages says how many messages it stands for.
    Rows that may still change say x_Provisional.

    \b
    Examples:
      fleetgauge export focus --month 2026-11 --out mobile.csv
      fleetgauge export focus --month 2026-11 --out mobile.parquet
      fleetgauge export focus --json
    """
    import sys

    from fleetgauge import settings
    from fleetgauge.cost import cost_queries
    from fleetgauge.cost.focus import COLUMNS, KINDS, write

    configure_logging()
    parquet = file_format == "parquet" or (file_format is None and out is not None and out.suffix == ".parquet")
    if parquet and (out is None or as_json):
        raise Terminal("--format parquet is for a file alone: say --out FILE, without --json")
    rows = cost_queries.focus(settings.load(), None if month is None else _first_day(month))
    if as_json:
        print_json([{name: row.get(name) for name in COLUMNS} for row in rows])
    elif out is None:
        write(rows, sys.stdout)
    else:
        beside = out.with_name(f".{out.name}.{uuid4().hex}")  # nobody reads a part of it
        try:
            if parquet:
                from fleetgauge.analytics.typed_rows import write_parquet

                count = write_parquet(rows, KINDS, beside)
            else:
                with beside.open("w", encoding="utf-8", newline="") as file:
                    count = write(rows, file)
            beside.replace(out)
        except OSError as error:
            raise Terminal(f"--out {out}: cannot be written: {error.strerror}; name another file") from None
        finally:
            beside.unlink(missing_ok=True)
        typer.echo(f"{out}: {count} rows", err=True)


def _first_day(month: str) -> date:
    try:
        return date.fromisoformat(f"{month}-01")
    except ValueError:
        raise Terminal(f"--month {month!r} is not a month; write it like 2026-11") from None
