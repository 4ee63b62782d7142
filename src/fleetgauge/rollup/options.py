"""Sizes and patience of a pass, and the connection that it writes through."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import psycopg

from fleetgauge.rollup.sources.port import Row

APPLICATION = "fleetgauge-rollup"
"""Application name on the sources; the writing side has it as a prefix."""

Connect = Callable[[], psycopg.Connection[Row]]
"""Opens a connection to the metrics database; a port, so that a test may break it between any two statements."""


@dataclass(frozen=True)
class Options:
    """A test makes them small."""

    overlap: timedelta = timedelta(seconds=5)
    """How far the cursor stays behind the horizon: a session shows its transaction's start a moment after taking it."""
    windows: int = 1440
    """Minutes of the first chunk; it grows and shrinks by the rows that come."""
    cells: int = 2000
    """Touched cells of the first batch."""
    dense: int = 600
    """An hour with more touched cells than this is read whole."""
    rows_aimed: int = 20_000
    """Rows that one transaction should write."""
    tries: int = 6
    """Failures in a row, each followed by a quarter of the work, after which a pass gives up what is left."""
    pause_s: float = 0.5
    """Before the first new try; doubles with each."""
    lock_timeout_s: float = 60.0
    """How long to wait for another worker on the same metric."""


def connect_metrics(
    url: str, options: Options, kind: type[psycopg.Connection[Row]] = psycopg.Connection
) -> psycopg.Connection[Row]:
    """The writing connection."""
    connection = kind.connect(url, autocommit=True, application_name=f"{APPLICATION}-writer", connect_timeout=10)
    connection.prepare_threshold = None
    connection.execute(
        "SELECT set_config('lock_timeout', %s, false), set_config('TimeZone', 'UTC', false),"
        " set_config('jit', 'off', false)",
        [f"{options.lock_timeout_s * 1000:.0f}ms"],
    )
    return connection
