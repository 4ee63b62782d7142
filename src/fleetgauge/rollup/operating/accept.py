"""Numbers without a source, accepted as they are: no run ends their waiting, so that somebody has to.

They are those of blocked cells whose source has expired, and of final hours whose facts the source has lost.
"""

from dataclasses import dataclass

from fleetgauge import postgres
from fleetgauge.errors import Terminal
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.execute.activity import Run
from fleetgauge.rollup.execute.session import lock
from fleetgauge.rollup.store import emptied_hours
from fleetgauge.rollup.store.state_reader import blocked
from fleetgauge.rollup.values import BlockedCell, Emptied
from fleetgauge.settings import Settings


@dataclass(frozen=True)
class Accepted:
    """What was accepted, or with a dry run would be."""

    metric: str
    cells: tuple[BlockedCell, ...]
    kept: tuple[BlockedCell, ...] = ()
    """Cells that stay blocked, since runs go on trying them."""
    emptied: tuple[Emptied, ...] = ()
    """Final hours whose facts the source has lost."""


def accept_frozen(settings: Settings, definition: Definition, reason: str, *, dry_run: bool = False) -> Accepted:
    """Let the metric's frozen blocked cells, and hours that lost their source, keep their rows for good.

    The next run makes the cells' windows final.

    Waits for whoever computes the metric. The run log keeps the reason and the cells; where it cannot, nothing is
    accepted. Raises `Terminal` without a reason, and what the metrics database raises.
    """
    if not reason.strip():
        raise Terminal("accepting rows that broke a check needs a reason, which is kept with them; give --reason")
    with (
        postgres.metrics(settings.metrics).session("accept", lock_timeout="60s") as connection,
        connection.transaction(force_rollback=dry_run),
    ):
        lock(connection, definition.metric)
        found = blocked(connection, definition)
        cells = tuple(cell for cell in found if cell.frozen)
        connection.cursor().executemany(
            "DELETE FROM fleetgauge.blocked"
            " WHERE metric = %s AND version = %s AND window_start = %s AND dimensions = %s",
            [
                (definition.metric, definition.version, one.window_start, [value for _, value in one.dimensions])
                for one in cells
            ],
        )
        hours = tuple(one for one in emptied_hours.known(connection, definition.metric) if one.accepted is None)
        emptied_hours.accept(connection, definition.metric, reason)
        if cells or hours:
            told = [{"cell": str(cell), "check": cell.check} for cell in cells]
            stages = [{"stage": "Accept", "reason": reason, "cells": told, "emptied": [str(one) for one in hours]}]
            Run(settings, "metrics accept", definition.metric, definition.version, stages=stages).write_within(
                connection
            )
    return Accepted(definition.metric, cells, tuple(cell for cell in found if not cell.frozen), hours)
