"""Whether a Postgres reads the zones that source.sql names as this worker does: instants are made by them."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from fleetgauge.errors import Terminal
from fleetgauge.postgres import Connection
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.zone_rules import REMEDY, differing, said

_NAMED = re.compile(r"'([A-Z][A-Za-z_]+/[A-Za-z0-9_/+-]+)'")


def check(connection: Connection[Any], definition: Definition, source: str) -> None:
    """Raises `Terminal` where one of them has other rules there: rows would lie in other hours and days.

    Inside the look's transaction.
    """
    for zone, line in _zones(definition.source_sql):
        since = differing(connection, zone, datetime.now(UTC))
        if since is not None:
            where = f"sql/metrics/{definition.metric}/source.sql:{line}"
            raise Terminal(f"{where}: {said(zone, since, f'source {source}')}; {REMEDY}")


def _zones(source_sql: str) -> Iterator[tuple[str, int]]:
    """Names of zones with their lines. A name that this worker does not know is the server's to read."""
    for found in _NAMED.finditer(source_sql):
        zone = found[1]
        if zone in available_timezones():
            yield ZoneInfo(zone).key, source_sql.count("\n", 0, found.start()) + 1
