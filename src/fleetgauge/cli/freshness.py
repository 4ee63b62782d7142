"""`fleetgauge freshness`: how far behind now the metrics are."""

from typing import TYPE_CHECKING, Annotated

import typer

from fleetgauge.cli.output import brief, duration, print_json, print_table, utc
from fleetgauge.cli.selection import AnyMetrics, AsJson, OfSource

if TYPE_CHECKING:
    from fleetgauge.rollup.operating.conditions import HeldCondition
    from fleetgauge.rollup.operating.freshness import MetricFreshness

_RUN = "fleetgauge run METRIC"


def freshness(
    metrics: AnyMetrics = None,
    source: OfSource = None,
    warn: Annotated[
        str | None, typer.Option(help="Warn from so much overdue on, whatever the definition says.", show_default=False)
    ] = None,
    error: Annotated[str | None, typer.Option(help="Fail from so much on.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Show up to where each metric is final and computed, and what else is wrong with its numbers.

    `compared`: how long ago reconcile last began that has come to its end. What no run can see, such as deleted rows,
    is right as far as then; a metric that was not compared for 50 hours is told.

    Exits with 75 when one is overdue beyond `error`, with 78 when a number is withheld, as by a broken check. A window
    is overdue once its end and the grace have passed and it is not final. Limits come from the definition (freshness:
    warn, error), by default 5m and 15m.

    \b
    Examples:
      fleetgauge freshness
      fleetgauge freshness rental --error 30m
      fleetgauge freshness --source operations
    """
    from fleetgauge import pipeline, settings
    from fleetgauge.rollup.execute.report import Severity, raise_worst
    from fleetgauge.rollup.operating import freshness as engine

    loaded = settings.load()
    limits = [
        None if given is None else duration(name, given) for name, given in (("--warn", warn), ("--error", error))
    ]
    chosen = pipeline.chosen(loaded, metrics or (), source)
    found = engine.freshness(loaded, chosen.values(), *limits)
    if not metrics and source is None:
        found += engine.frozen(loaded, chosen)
    unread = {} if metrics else pipeline.broken(loaded.content, source)
    found += [engine.unread(name, str(one)) for name, one in unread.items()]
    _show(found, as_json=as_json)
    said: list[tuple[Severity, str]] = [
        (held.condition.severity, f"metric {held.metric}: {held.said}")
        for held in _conditions(found)
        if held.condition.verdict == "error"
    ]
    late = [f"{one.metric} by {one.grain} {_why(one)}" for one in found if one.late == "error"]
    if late:
        said.append(("transient", f"{'; '.join(late)}: see whether its runs succeed and what they say ({_RUN})"))
    raise_worst(said)


def _conditions(found: "list[MetricFreshness]") -> "list[HeldCondition]":
    """What holds for metrics, each once."""
    return list({(held.metric, held.condition.name): held for one in found for held in one.conditions}.values())


def _why(one: "MetricFreshness") -> str:
    if one.overdue is None:
        return "was never computed"
    if one.ahead is not None:
        return f"is called computed or final {brief(one.ahead)} into the future, since a clock was wrong"
    return f"is {brief(one.overdue)} overdue"


def _show(found: "list[MetricFreshness]", *, as_json: bool) -> None:
    """Print where metrics stand."""
    if as_json:
        print_json([one.to_dict() for one in found])
        return
    print_table(
        ("metric", "grain", "final until", "computed until", "behind", "overdue", "blocked", "compared", ""),
        [
            (
                one.metric,
                one.grain,
                utc(one.closed_until),
                utc(one.done_until),
                brief(one.behind),
                brief(one.overdue),
                one.blocked,
                brief(one.compared),
                one.verdict,
            )
            for one in found
        ],
    )
    for held in _conditions(found):
        typer.echo(f"{held.condition.verdict}: {held.metric}: {held.said}")
