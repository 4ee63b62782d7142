"""How far a long computation is, told on stderr: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import typer

from fleetgauge.cli.output import brief, utc


@dataclass(frozen=True)
class Step:
    """Where one metric's work is."""

    metric: str
    at: datetime
    """Up to where it is computed."""
    done: timedelta
    """Stretches of event time."""
    total: timedelta
    said: str
    """What else there is to say."""


Tell = Callable[[Step], None]


@contextmanager
def telling(*, every_s: float = 0.0) -> Iterator[tuple[Tell, Callable[[str, str], None]]]:
    """Two functions: one is told of each step, the other of anything else about a metric. `every_s`: plain lines are
    at least so far apart, save the last of a metric."""
    if not sys.stderr.isatty():
        yield _lines(every_s), lambda metric, said: typer.echo(f"{metric}: {said}", err=True)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    parts = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"), TimeRemainingColumn()
    with Progress(*parts, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def task(metric: str) -> Any:
            if metric not in tasks:
                tasks[metric] = bars.add_task(metric, total=None, said="")
            return tasks[metric]

        def tell(step: Step) -> None:
            bars.update(
                task(step.metric),
                completed=step.done.total_seconds(),
                total=step.total.total_seconds(),
                said=f"{utc(step.at)}: {step.said}",
            )

        yield tell, lambda metric, said: bars.update(task(metric), said=said)


def _lines(every_s: float) -> Tell:
    began: dict[str, float] = {}
    last: dict[str, float] = {}

    def tell(step: Step) -> None:
        now = time.monotonic()
        began.setdefault(step.metric, now)
        left = step.total - step.done
        if left and now - last.setdefault(step.metric, now) < every_s:
            return
        last[step.metric] = now
        spent = now - began[step.metric]
        eta = timedelta(seconds=spent * left.total_seconds() / max(1.0, step.done.total_seconds()))
        rest = f"{brief(left)} left, about {brief(eta)}" if left else "done"
        typer.echo(f"{step.metric}: {utc(step.at)}: {step.said}; {rest}", err=True)

    return tell
