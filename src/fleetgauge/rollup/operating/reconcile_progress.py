"""How far a comparison with the source is: one that was interrupted goes on where it stood.

A row stands only while a comparison has not come to its end. The next one of the same metric and version goes on with
it if it asks for a span of the same length that begins within a day, as the scheduled ones do, and within `RESUMED`.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from fleetgauge.postgres import Connection, only_row
from fleetgauge.rollup.definitions.definition import RECONCILED, Definition
from fleetgauge.rollup.spans import Span

RESUMED = timedelta(hours=20)
"""What was compared longer ago is compared again."""

_FORGET = """
DELETE FROM fleetgauge.reconcile_progress WHERE metric = %(metric)s AND (%(anew)s OR version <> %(version)s
    OR started_at < clock_timestamp() - %(resumed)s
    OR abs(extract(epoch FROM lower(span) - %(begin)s)) > 86400
    OR abs(extract(epoch FROM (upper(span) - lower(span)) - (%(end)s::timestamptz - %(begin)s::timestamptz))) > 3600)
"""
_TAKE_UP = """
INSERT INTO fleetgauge.reconcile_progress AS p (metric, version, span)
VALUES (%(metric)s, %(version)s, tstzrange(%(begin)s, %(end)s))
ON CONFLICT (metric) DO UPDATE SET version = p.version RETURNING compared
"""
_COMPARED = """
UPDATE fleetgauge.reconcile_progress SET compared = compared + (SELECT coalesce(range_agg(tstzrange(b, e)), '{}')
    FROM unnest(%(begins)s::timestamptz[], %(ends)s::timestamptz[]) AS _(b, e))
WHERE metric = %(metric)s AND version = %(version)s
"""

_FINISH = """
DELETE FROM fleetgauge.reconcile_progress WHERE metric = %(metric)s
RETURNING CASE WHEN upper(span) - lower(span) >= %(whole)s AND upper(span) > started_at - interval '1 hour'
    AND NOT isempty(compared) THEN started_at END
"""


def take_up(connection: Connection[Any], definition: Definition, span: Span, *, anew: bool) -> list[Span]:
    """Begin a comparison, or go on with one; returns the hours (UTC) that it has compared already."""
    values = {
        "metric": definition.metric,
        "version": definition.version,
        "begin": span[0],
        "end": span[1],
        "anew": anew,
        "resumed": RESUMED,
    }
    connection.execute(_FORGET, values)
    return [(r.lower, r.upper) for r in only_row(connection.execute(_TAKE_UP, values))[0]]


def compared(connection: Connection[Any], definition: Definition, hours: Sequence[Span]) -> None:
    """These hours are compared, and computed anew if they differed."""
    values = {
        "metric": definition.metric,
        "version": definition.version,
        "begins": [begin for begin, _ in hours],
        "ends": [end for _, end in hours],
    }
    connection.execute(_COMPARED, values)


def finish(connection: Connection[Any], definition: Definition) -> datetime | None:
    """It has come to its end: the next one compares everything.

    Returns when it began, by the metrics database's clock and before any interruption; None where it took in less than
    what is reconciled daily, or could compare nothing.
    """
    row = connection.execute(_FINISH, {"metric": definition.metric, "whole": RECONCILED}).fetchone()
    return None if row is None else row[0]
