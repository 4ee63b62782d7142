"""`fleetgauge contracts`: event contracts, their releases and their documentation."""

from typing import Annotated

import typer

from fleetgauge.cli.selection import AsJson

app = typer.Typer(no_args_is_help=True, help="Event contracts: list them, release them, document them.")


@app.command("ls")
def ls(as_json: AsJson = False) -> None:
    """Every contract with its version and the version that was released last.

    \b
    Example:
      fleetgauge contracts ls
    """
    from fleetgauge import contracts, settings
    from fleetgauge.cli.output import print_json
    from fleetgauge.contracts import check, released

    content = settings.load().content
    found = contracts.load(content / "schemas" / "events")
    known, changed = released.read(content), check.unreleased(content, found)
    rows = [
        {
            "kind": kind,
            "version": contract.version,
            "released": known[kind].version if kind in known else None,
            "changed": kind in changed,
        }
        for kind, contract in found.items()
    ]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        state = "never released" if row["released"] is None else f"released {row['released']}"
        changed_since = ", changed since" if row["changed"] and row["released"] is not None else ""
        typer.echo(f"{row['kind']}: version {row['version']}, {state}{changed_since}")


@app.command("release")
def release(
    kinds: Annotated[list[str] | None, typer.Argument(help="Kinds to release; all by default.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be recorded, and do nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Record contracts as they are now: from here on `lint` refuses changes that older events would not survive.

    \b
    Example:
      fleetgauge contracts release --dry-run
    """
    from fleetgauge import contracts, settings
    from fleetgauge.cli.output import print_json
    from fleetgauge.contracts import released

    content = settings.load().content
    found = contracts.load(content / "schemas" / "events")
    done = released.release(content, found, kinds or (), dry_run=dry_run)
    if as_json:
        print_json({"dry_run": dry_run, "released": {kind: {"from": a, "to": b} for kind, (a, b) in done.items()}})
        return
    for kind, (before, now) in done.items():
        was = "for the first time" if before is None else f"was version {before}"
        typer.echo(f"{kind}: version {now}, {was}")
    if not done:
        typer.echo("nothing to do: all of it is released as it is")
    elif dry_run:
        typer.echo("nothing was changed (--dry-run)")


@app.command("docs")
def docs(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if a page is not up to date.")] = False,
    as_json: AsJson = False,
) -> None:
    """Generate docs/events/*.md from the contracts and the consumers that read them.

    \b
    Example:
      fleetgauge contracts docs --check
    """
    from fleetgauge import contracts, settings
    from fleetgauge.cli.output import print_json
    from fleetgauge.contracts import event_pages
    from fleetgauge.errors import Terminal
    from fleetgauge.ingest.check.lint_consumers import load_consumers

    content = settings.load().content
    found = contracts.load(content / "schemas" / "events")
    readers: dict[str, list[event_pages.Reader]] = {}
    for consumer in load_consumers(content)[0].values():
        for kind in consumer.contracts:
            reader = event_pages.Reader(consumer.name, consumer.topic, consumer.index)
            readers.setdefault(kind, []).append(reader)
    wanted = event_pages.pages(found, readers)
    folder = content / event_pages.FOLDER
    changed = event_pages.outdated(folder, wanted) if check else event_pages.write(folder, wanted)
    if as_json:
        print_json({"folder": folder, "outdated" if check else "written": changed})
    elif not check or not changed:
        typer.echo(f"{len(wanted)} pages in {folder}, {len(changed)} renewed")
    if check and changed:
        raise Terminal(f"{', '.join(changed)} in {folder} is not up to date; run fleetgauge contracts docs")
