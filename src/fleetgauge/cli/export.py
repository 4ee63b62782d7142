"""`fleetgauge export`: aggregates and stored events for other systems."""

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fleetgauge.cli.output import configure_logging, print_json, print_table
from fleetgauge.cli.selection import AsJson, DryRun, Metric
from fleetgauge.errors import Terminal

if TYPE_CHECKING:
    from fleetgauge.analytics.parquet_days import DayFile

app = typer.Typer(help="Aggregates and events for other systems: Parquet, and tables over it.", no_args_is_help=True)

Grain = Annotated[Literal["minute", "hour", "day"], typer.Option(help="Grain of the rows.")]


@app.command("parquet")
def parquet(
    metric: Metric,
    into: Annotated[str, typer.Option(metavar="FOLDER", help="A folder, or a URI such as s3://bucket/prefix.")],
    begin: Annotated[str, typer.Option("--from", metavar="DATE", help="The first local day.")],
    end: Annotated[str, typer.Option("--to", metavar="DATE", help="The day after the last.")],
    grain: Grain = "day",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Write a Parquet file for each local day, in hive partitions; a day that is there is replaced as a whole.

    Rows are by all dimensions. Sketches are read as quantiles, numbers about few persons are kept back.

    \b
    Examples:
      fleetgauge export parquet rental --into /exports --from 2026-11-01 --to 2026-12-01
      fleetgauge export parquet command_cost --grain hour --into s3://bucket/fleet --from 2026-11-20 --to 2026-11-21
    """
    from fleetgauge.analytics.frames import connected
    from fleetgauge.analytics.parquet_days import store_of, write_days

    first, until = _days(begin, end, "local days of the metric")
    store, root = store_of(into)
    with connected(None) as connection:
        done = list(write_days(connection, metric, grain, first, until, store, root, dry_run=dry_run))
    _told(done, as_json=as_json)


@app.command("raw")
def raw(
    consumer: Annotated[str, typer.Argument(help="Of whose events: a file in consumers/.")],
    into: Annotated[str, typer.Option(metavar="FOLDER", help="A folder, or a URI such as s3://bucket/prefix.")],
    begin: Annotated[str, typer.Option("--from", metavar="DATE", help="The first UTC day.")],
    end: Annotated[str, typer.Option("--to", metavar="DATE", help="The day after the last.")],
    personal: Annotated[
        bool, typer.Option("--personal", help="With ids of persons, exact positions, and what no contract names.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Write the stored events of each UTC day as Parquet, in hive partitions; a day that is there is replaced whole.

    Days that are not stored in whole yet are refused; a day without an index is left as it is.

    \b
    Example:
      fleetgauge export raw device_events --into s3://bucket/fleet --from 2026-11-20 --to 2026-11-21
    """
    from fleetgauge import settings
    from fleetgauge.analytics.parquet_days import store_of
    from fleetgauge.ingest.consumer import load_consumer
    from fleetgauge.raw_days import export_raw_days, stored_until

    configure_logging()
    first, until = _days(begin, end, "UTC days")
    store, root = store_of(into)
    found = settings.load()
    declared = load_consumer(found.content, consumer)
    stored = stored_until(found, declared)
    days = export_raw_days(found, declared, first, until, store, root, stored, personal=personal, dry_run=dry_run)
    _told(list(days), as_json=as_json)


def _days(begin: str, end: str, what: str) -> tuple[date, date]:
    try:
        first, until = date.fromisoformat(begin), date.fromisoformat(end)
    except ValueError:
        raise Terminal(f"--from and --to are {what}; write dates such as 2026-11-20") from None
    if until <= first:
        raise Terminal(f"--to {until} is not after --from {first}, and --to is exclusive")
    return first, until


def _told(done: "Sequence[DayFile]", *, as_json: bool) -> None:
    if as_json:
        print_json([{"day": one.day.isoformat(), "path": one.path, "rows": one.rows} for one in done])
        return
    print_table(("day", "rows", "file"), [(one.day, "-" if one.rows is None else one.rows, one.path) for one in done])


@app.command("ddl")
def ddl(
    metric: Metric,
    location: Annotated[str, typer.Option("--into", metavar="FOLDER", help="Where exports lie: s3://bucket/prefix.")],
    grain: Grain = "day",
    dialect: Annotated[Literal["athena", "glue"], typer.Option(help="Who is to read them.")] = "athena",
    database: Annotated[str, typer.Option(help="Athena's database.")] = "fleetgauge",
    as_json: AsJson = False,
) -> None:
    """Print what makes a table of an export: DDL for Athena, or the TableInput of Glue's CreateTable.

    \b
    Example:
      fleetgauge export ddl rental --into s3://bucket/fleet
    """
    import json
    import re

    from fleetgauge.analytics import external_tables
    from fleetgauge.analytics.frames import connected, range_query

    if not re.fullmatch("[a-z][a-z0-9_]*", database):
        raise Terminal(f"--database {database!r} is no name; write lower-case letters, digits and _")
    with connected(None) as connection:
        asked = range_query(connection, metric, grain, "2000-01-01", "2000-01-01")
        asked = range_query(connection, metric, grain, "2000-01-01", "2000-01-01", asked.readable.dimensions)
    if dialect == "glue":
        found = external_tables.glue(asked, location)
        print_json({"glue": found}) if as_json else typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    text = external_tables.athena(asked, location, database)
    print_json({"athena": text}) if as_json else typer.echo(text)
