"""`fleetgauge test`: metric tests, `sql/metrics/<metric>/tests/*.yaml`."""

from dataclasses import asdict

import typer

from fleetgauge.cli.selection import AsJson, OneMetric


def test(
    metric: OneMetric = None,
    as_json: AsJson = False,
) -> None:
    """Feed given rows through the real queries on the metrics database and compare, documents through Elasticsearch.

    Keeps nothing; exits with 1 if one fails.

    \b
    Examples:
      fleetgauge test
      fleetgauge test rental
    """
    from fleetgauge import pipeline, settings
    from fleetgauge.cli.output import configure_logging, print_json, print_table
    from fleetgauge.document_sources import event_streams
    from fleetgauge.rollup import DefinitionError
    from fleetgauge.rollup.metric_tests import load_tests, run_tests

    configure_logging()
    loaded = settings.load()
    chosen = list(pipeline.chosen(loaded, [] if metric is None else [metric]).values())
    unread = {} if metric is not None else pipeline.broken(loaded.content)
    tests = load_tests(loaded.content, chosen)
    outcomes = []
    streams = event_streams(loaded.content, chosen)
    for outcome in run_tests(loaded, [(one, test) for one in chosen for test in tests[one.metric]], streams):
        outcomes.append(outcome)
        if not as_json:
            state = "passed" if outcome.passed else "FAILED"
            typer.echo(f"{outcome.metric}/{outcome.test}: {state} ({outcome.seconds:.1f} s)")
            if outcome.error is not None:
                typer.echo(f"  {outcome.error}")
            if outcome.differences:
                cells = [(d.level, d.row, d.column, d.expected, d.actual) for d in outcome.differences]
                print_table(("level", "row", "column", "expected", "actual"), cells)
    without = [name for name, found in tests.items() if not found]
    failed = [outcome for outcome in outcomes if not outcome.passed]
    if as_json:
        print_json(
            {"tests": [{**asdict(o), "passed": o.passed} for o in outcomes], "without": without, "failed": len(failed)}
        )
    else:
        untested = f"; without tests: {', '.join(without)}" if without else ""
        typer.echo(f"{len(outcomes)} tests, {len(failed)} failed{untested}")
    if unread:
        raise DefinitionError([problem for one in unread.values() for problem in one.problems])
    if failed:
        raise typer.Exit(1)
