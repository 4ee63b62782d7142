"""`fleetgauge metrics`: the schema of metric.yaml and a page for each metric, both generated."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fleetgauge.cli.selection import AsJson, Metric

app = typer.Typer(no_args_is_help=True, help="Metrics: list them, and what is generated from them.")


@app.command("ls")
def ls(as_json: AsJson = False) -> None:
    """Every metric with its source, its version and its views.

    \b
    Example:
      fleetgauge metrics ls
    """
    from fleetgauge import pipeline, settings
    from fleetgauge.cli.output import print_json, print_table
    from fleetgauge.rollup import DefinitionError, read_definitions

    configured = settings.load()
    loaded = read_definitions(configured.content, pipeline.key_id(configured))
    found = loaded.valid.values()
    if as_json:
        print_json(
            [
                {
                    "metric": one.metric,
                    "source": one.source,
                    "version": one.version,
                    "time_zone": one.time_zone,
                    "owner": one.owner,
                    "dimensions": list(one.dimensions),
                    "measures": list(one.measures),
                    "views": [f"metrics.{one.view(level)}" for level in one.levels],
                }
                for one in found
            ]
        )
    else:
        print_table(
            ("metric", "source", "version", "days of", "dimensions", "measures"),
            [
                (m.metric, m.source, m.version, m.time_zone, ", ".join(m.dimensions), ", ".join(m.measures))
                for m in found
            ],
        )
    if loaded.broken:
        raise DefinitionError(loaded.problems)


@app.command("docs")
def docs(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if a file is not up to date.")] = False,
    as_json: AsJson = False,
) -> None:
    """Generate docs/metrics/*.md from the definitions, and schemas/metric.schema.json for editors.

    \b
    Example:
      fleetgauge metrics docs --check
    """
    from fleetgauge import settings
    from fleetgauge.cli.output import print_json
    from fleetgauge.errors import Terminal
    from fleetgauge.rollup import load_definitions
    from fleetgauge.rollup.definitions.schema import FILE, text
    from fleetgauge.rollup.metric_tests import load_tests
    from fleetgauge.rollup.operating.metric_reference import gone, pages

    content = settings.load().content
    definitions = load_definitions(content)
    wanted = {FILE: text(), **pages(definitions, load_tests(content, definitions.values()))}
    changed = [path for path, said in wanted.items() if not _is(content / path, said)]
    orphans = gone(content, wanted)
    if not check:
        for path in changed:
            (content / path).parent.mkdir(parents=True, exist_ok=True)
            (content / path).write_text(wanted[path], encoding="utf-8")
        for path in orphans:
            (content / path).unlink()
    stale = sorted(map(str, changed + orphans))
    if as_json:
        print_json({"files": len(wanted), "outdated" if check else "renewed": stale})
    elif not check or not stale:
        typer.echo(f"{len(wanted)} files in {content}, {len(stale)} renewed")
    if check and stale:
        raise Terminal(f"{', '.join(stale)} in {content} is not up to date; run fleetgauge metrics docs")


@app.command("key")
def key(
    show_id: Annotated[bool, typer.Option("--id", help="The id of the key in force instead; it is no secret.")] = False,
    as_json: AsJson = False,
) -> None:
    """A new key for rollup.distinct_key, by which distinct measures tell persons apart. Changes nothing.

    \b
    Example:
      fleetgauge metrics key
    """
    import secrets

    from fleetgauge import pipeline, settings
    from fleetgauge.cli.output import print_json

    found = pipeline.key_id(settings.load()) if show_id else secrets.token_hex(32)
    if as_json:
        print_json({"id" if show_id else "key": found})
    else:
        typer.echo(found or "none is set")


@app.command("describe")
def describe(
    metric: Metric,
    as_json: AsJson = False,
) -> None:
    """A metric's views as they are: which version shows which windows, what is NULL when, what others built on them.

    \b
    Example:
      fleetgauge metrics describe rental
    """
    from fleetgauge import pipeline, settings
    from fleetgauge.cli.output import configure_logging, print_json
    from fleetgauge.cli.plan import views
    from fleetgauge.rollup.execute.report import plain

    configure_logging(quiet=True)
    one, found = pipeline.describe(settings.load(), metric)
    if as_json:
        print_json({"metric": one.metric, "version": one.version, **plain(asdict(found))})
        return
    typer.echo(f"{one.metric} (version {one.version}), shown: {found.shown or 'nothing yet'}")
    for line in views(found):
        typer.echo(f"  {line}")


@app.command("prune")
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be dropped, and do nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Drop the tables of versions that no view shows a row of. The retention DAG does it every night.

    \b
    Example:
      fleetgauge metrics prune --dry-run
    """
    from fleetgauge import pipeline, settings
    from fleetgauge.cli.output import configure_logging, print_json

    configure_logging(quiet=True)
    found = pipeline.prune_versions(settings.load(), dry_run=dry_run)
    if as_json:
        print_json({"dry_run": dry_run, "versions": [asdict(one) for one in found]})
        return
    verb = "would be dropped" if dry_run else "dropped"
    for one in found:
        what = f"{one.metric} version {one.version}: {len(one.tables)} tables, {one.size_bytes / 2**20:.1f} MiB"
        typer.echo(f"{what}, {verb}" if one.kept is None else f"{what}, kept, for these depend on it: {one.kept}")
    if not found:
        typer.echo("nothing to drop: every version is shown, or waits to be")


@app.command("drop")
def drop(
    name: Annotated[str, typer.Argument(help="Metric or view that no definition makes any more.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be dropped, and do nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Drop a renamed or deleted metric: its views, tables and ledger. Exits with 78 while something depends on them.

    \b
    Example:
      fleetgauge metrics drop old_rides --dry-run
    """
    from fleetgauge import pipeline, settings
    from fleetgauge.cli.output import configure_logging, print_json

    configure_logging(quiet=True)
    found = pipeline.drop_leftover(settings.load(), name, dry_run=dry_run)
    if as_json:
        print_json({"dry_run": dry_run, **asdict(found)})
        return
    verb = "would be dropped" if dry_run else "dropped"
    for view in found.views:
        typer.echo(f"view metrics.{view} {verb}")
    if found.metric:
        typer.echo(f"{len(found.tables)} tables, {found.size_bytes / 2**20:.1f} MiB, {verb}")


@app.command("accept")
def accept(
    metric: Metric,
    reason: Annotated[str, typer.Option(help="Why the rows are good enough; kept in the run log.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be accepted, and do nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Accept the rows of blocked cells whose source has expired, and of final hours whose facts the source has lost.

    The next run makes the windows of the cells final. Cells that runs go on trying stay blocked: correct their source,
    or the check.

    \b
    Example:
      fleetgauge metrics accept rental --reason "fares of March were never corrected"
    """
    from fleetgauge import pipeline, settings
    from fleetgauge.cli.output import configure_logging, print_json
    from fleetgauge.rollup.execute.report import plain

    configure_logging(quiet=True)
    found = pipeline.accept_blocked(settings.load(), metric, reason, dry_run=dry_run)
    if as_json:
        print_json({"dry_run": dry_run, **plain(asdict(found))})
        return
    verb = "would be accepted" if dry_run else "accepted"
    for cell in found.cells:
        typer.echo(f"{metric} {cell}: {verb} (check {cell.check!r})")
    for hour in found.emptied:
        typer.echo(f"{metric} {hour} facts left: {verb}")
    if not found.cells and not found.emptied:
        typer.echo("nothing to accept: no blocked cell and no final hour has lost its source")
    if found.kept:
        typer.echo(f"{len(found.kept)} cell(s) stay blocked, since runs go on trying them")


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text
