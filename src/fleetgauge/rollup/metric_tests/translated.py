"""source.sql of another dialect in the SQL of the metrics database, on which tests of metrics run."""

import re
from dataclasses import replace
from zoneinfo import available_timezones

import sqlglot
from sqlglot import exp

from fleetgauge.errors import Terminal
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.periods import offset_minutes

_OFFSET = re.compile(r"[+-](0?\d|1[0-4]):[0-5]\d")


def in_postgres(definition: Definition) -> Definition:
    """The same metric with its source.sql in the SQL of the metrics database.

    Another dialect's is translated. What it cannot tell is how that database compares texts: here byte by byte. Raises
    `Terminal` for a change of clocks that would mean something else there.
    """
    if definition.dialect == "postgres":
        return definition
    query = sqlglot.parse_one(definition.source_sql, dialect=definition.dialect)
    for found in list(query.find_all(exp.ConvertTimezone, bfs=False))[::-1]:  # those inside of others first
        moved = _moved(definition, found)
        found.replace(moved)
    for select in query.find_all(exp.Select) if isinstance(query, exp.Query) else ():
        if select.parent_select is None:
            select.set("expressions", [_instant(one, definition) for one in select.expressions])
    text = query.sql("postgres", comments=False)
    return replace(definition, source_sql=text, dialect="postgres", datetime_offset=None)


def _instant(shown: exp.Expression, definition: Definition) -> exp.Expression:
    """A time that source.sql returns, which is a DATETIME if it is made there, as the instant that it names."""
    if shown.output_name not in (definition.event_time, definition.change_time):
        return shown
    return exp.Alias(this=exp.cast(shown.unalias(), "timestamptz"), alias=exp.to_identifier(shown.output_name))


def _moved(definition: Definition, found: exp.ConvertTimezone) -> exp.Expression:
    """CONVERT_TZ: the clock of one zone as that of another, both without a zone."""
    if offset_minutes(definition.datetime_offset):
        raise _refused(definition, found, f"beside datetime_offset {definition.datetime_offset}")
    at: exp.Expression = exp.cast(found.args["timestamp"], "timestamp")
    for name in ("source_tz", "target_tz"):
        zone = found.args.get(name)
        at = exp.AtTimeZone(this=at, zone=_zone(definition, found, zone))
    return exp.paren(at)


def _zone(definition: Definition, found: exp.ConvertTimezone, zone: exp.Expression | None) -> exp.Expression:
    """Postgres reads '+09:00' as POSIX does, nine hours behind UTC; an interval it reads as MariaDB reads the text."""
    if isinstance(zone, exp.Literal) and zone.is_string:
        if _OFFSET.fullmatch(zone.name):
            return exp.cast(zone.copy(), "interval")
        if zone.name in available_timezones():
            return zone.copy()
    raise _refused(definition, found, "whose zones are not both an offset such as '+09:00' or a name such as 'UTC'")


def _refused(definition: Definition, found: exp.Expression, why: str) -> Terminal:
    said = found.sql(definition.dialect)
    return Terminal(
        f"sql/metrics/{definition.metric}/source.sql: {said}, {why}, cannot be tried on the metrics database; return"
        ' the column itself, and say what it is written in with datetime_offset (UTC, or "+09:00")'
    )
