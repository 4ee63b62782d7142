"""What passes have done so far, added up by metric: short-lived tasks leave here what an exporter shows."""

from collections.abc import Mapping
from contextlib import closing

import psycopg
import structlog
from psycopg import sql

from fleetgauge.rollup.passes.report import PassReport
from fleetgauge.settings import Settings

log = structlog.get_logger(__name__)


def record_pass(settings: Settings, report: PassReport) -> None:
    """Add a pass. Never raises: the numbers are written already, and a count of them is not worth a failed task."""
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
        {"error": report.error, "deferred": report.deferred, "source_lag_s": report.source_lag_s},
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
        url = settings.metrics.url.get_secret_value()
        with closing(psycopg.connect(url, autocommit=True, connect_timeout=10)) as connection:
            connection.execute(query, [metric, *counts.values(), *states.values()])
    except psycopg.Error as error:
        log.warning("what a pass did was not counted", metric=metric, error=str(error).strip().splitlines()[0])
