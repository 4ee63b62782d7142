"""What runs have done so far, added up by metric: short-lived tasks leave here what an exporter shows."""

from collections.abc import Mapping

import structlog

from fleetgauge import postgres
from fleetgauge.errors import FleetgaugeError
from fleetgauge.postgres import sql
from fleetgauge.rollup.execute.report import RunReport
from fleetgauge.settings import Settings

log = structlog.get_logger(__name__)


def record_run(settings: Settings, report: RunReport) -> None:
    """Add a run. Never raises: the numbers are written already, and a count of them is not worth a failed task."""
    _add(
        settings,
        report.metric,
        {
            "passes": 1,
            "failures": int(report.error is not None),
            "deferrals": int(report.deferred is not None),
            "windows": report.windows,
            "cells": report.cells,
            "restated": report.restated,
            "conflicts": report.conflicts,
            "source_seconds": report.source_seconds,
        },
        {
            "error": report.error,
            "deferred": report.deferred,
            "source_lag_s": report.source_lag_s,
            "clock_skew_s": report.clock_skew_s,
        },
    )


def record_backfill(settings: Settings, metric: str, windows: int, conflicts: int, source_seconds: float) -> None:
    """Add a piece of a backfill. What it restates was asked for and is not counted. Never raises."""
    _add(settings, metric, {"windows": windows, "conflicts": conflicts, "source_seconds": source_seconds}, {})


def record_reconciliation(settings: Settings, metric: str, hours: int, different: int) -> None:
    """Add what comparing with the source found. Never raises."""
    _add(settings, metric, {"reconciled": hours, "differed": different}, {})


def _add(
    settings: Settings, metric: str, counts: Mapping[str, float], states: Mapping[str, str | float | None]
) -> None:
    names = [sql.Identifier(name) for name in (*counts, *states)]
    sets = [sql.SQL("{0} = a.{0} + excluded.{0}").format(sql.Identifier(name)) for name in counts]
    sets += [sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in states]
    query = sql.SQL(
        "INSERT INTO fleetgauge.activity AS a (metric, {names}) VALUES ({values})"
        " ON CONFLICT (metric) DO UPDATE SET updated_at = clock_timestamp(), {sets}"
    ).format(
        names=sql.SQL(", ").join(names),
        values=sql.SQL(", ").join(sql.Placeholder() * (len(names) + 1)),
        sets=sql.SQL(", ").join(sets),
    )
    try:
        with postgres.metrics(settings.metrics).session("activity") as connection:
            connection.execute(query, [metric, *counts.values(), *states.values()])
    except FleetgaugeError as error:
        log.warning("what a run did was not counted", metric=metric, error=str(error))
