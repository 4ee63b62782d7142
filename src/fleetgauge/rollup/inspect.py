"""Where each metric stands, read from the ledger."""

from collections.abc import Iterable
from contextlib import closing
from typing import Any

import psycopg
from psycopg.rows import dict_row

from fleetgauge.rollup.database_errors import translate
from fleetgauge.rollup.definition import Definition
from fleetgauge.settings import Settings

_QUERY = """
SELECT l.metric, l.version,
    (SELECT max(upper(r)) FROM unnest(l.done) AS r) AS done_until,
    (SELECT max(upper(r)) FROM unnest(l.closed) AS r) AS closed_until,
    l.cursor_at,
    (SELECT count(*) FROM fleetgauge.blocked AS b WHERE b.metric = l.metric AND b.version = l.version) AS blocked
FROM fleetgauge.ledger AS l
WHERE l.metric = %s AND l.version = %s AND l.grain = 'minute'
"""


def standing(settings: Settings, definitions: Iterable[Definition]) -> list[dict[str, Any]]:
    """One entry a metric: `done_until, closed_until, cursor_at` (UTC, or None), `blocked` windows. Changes nothing."""
    try:
        with closing(psycopg.connect(settings.metrics.url.get_secret_value(), row_factory=dict_row)) as connection:
            connection.execute("SELECT set_config('TimeZone', 'UTC', false)")
            found = []
            for d in definitions:
                none = {"metric": d.metric, "version": d.version, "done_until": None, "closed_until": None}
                row = connection.execute(_QUERY, [d.metric, d.version]).fetchone()
                found.append(row or {**none, "cursor_at": None, "blocked": 0})
            return found
    except psycopg.Error as error:
        raise translate(error, "the metrics database", "metrics", "run fleetgauge migrate") from error
