"""`fleetgauge lint`: check the content without any server."""

from typing import Annotated

import typer


def lint(as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False) -> None:
    """Check contracts, consumers, metrics and tariffs; lists all problems at once and exits with 78 if there is one."""
    from fleetgauge import pipeline, settings
    from fleetgauge.cli.output import print_json
    from fleetgauge.commands.tariff import TariffError, load_tariffs
    from fleetgauge.contracts import check as of_contracts
    from fleetgauge.ingest.check import lint_consumers as of_consumers
    from fleetgauge.rollup import DefinitionError, load_definitions
    from fleetgauge.rollup.definitions import current_state, moving
    from fleetgauge.rollup.unittests import load_tests

    content = settings.load().content
    metrics: list[str] = []
    events = any((content / folder).exists() for folder in ("schemas", "consumers"))  # else metrics are all there is
    contracts, problems = of_contracts.check(content, of_consumers.RESERVED) if events else ({}, [])
    consumers, found = of_consumers.check(content, contracts)
    problems += found
    try:
        definitions = load_definitions(content)
        metrics = sorted(definitions)
        problems += current_state.problems(content, definitions.values())
        problems += moving.problems(content, definitions.values())
        load_tests(content, definitions.values())
        problems += pipeline.document_problems(content, definitions.values())
    except DefinitionError as error:
        problems += error.problems
    try:
        load_tariffs(content)
    except TariffError as error:
        problems += error.problems
    if as_json:
        names = sorted(consumer.name for consumer in consumers.values())
        print_json({"contracts": sorted(contracts), "consumers": names, "metrics": metrics, "problems": problems})
    elif problems:
        typer.echo("\n".join(problems))
    else:
        typer.echo(
            f"{len(contracts)} contracts, {len(consumers)} consumers, {len(metrics)} metrics, no problem: "
            f"{', '.join([*contracts, *metrics])}"
        )
    if problems:
        raise typer.Exit(DefinitionError.exit_code)
