"""`fleetgauge metrics`: the schema of metric.yaml and a page for each metric, both generated."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Metrics: list them, and what is generated from them.")
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


@app.command("ls")
def ls(as_json: AsJson = False) -> None:
    """Every metric with its source, its version and its views."""
    from fleetgauge import settings
    from fleetgauge.cli.output import print_json, print_table
    from fleetgauge.rollup import load_definitions

    found = load_definitions(settings.load().content).values()
    if as_json:
        print_json(
            [
                {
                    "metric": one.metric,
                    "source": one.source,
                    "version": one.version,
                    "owner": one.owner,
                    "dimensions": list(one.dimensions),
                    "measures": list(one.measures),
                    "views": [f"metrics.{one.view(level)}" for level in one.levels],
                }
                for one in found
            ]
        )
        return
    print_table(
        ("metric", "source", "version", "dimensions", "measures"),
        [(m.metric, m.source, m.version, ", ".join(m.dimensions), ", ".join(m.measures)) for m in found],
    )


@app.command("docs")
def docs(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if a file is not up to date.")] = False,
    as_json: AsJson = False,
) -> None:
    """Generate docs/metrics/*.md from the definitions, and schemas/metric.schema.json for editors."""
    from fleetgauge import settings
    from fleetgauge.cli.output import print_json
    from fleetgauge.errors import Terminal
    from fleetgauge.rollup import load_definitions
    from fleetgauge.rollup.definitions.schema import FILE, text
    from fleetgauge.rollup.operating.reference import gone, pages
    from fleetgauge.rollup.unittests import load_tests

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


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text
