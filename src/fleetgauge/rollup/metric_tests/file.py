"""A test file of a metric, `sql/metrics/<metric>/tests/<name>.yaml`. Touches files only."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import field, fields, replace
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from fleetgauge.files import plain, strict_yaml
from fleetgauge.files import text as texts
from fleetgauge.files.text import Unreadable
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import Level
from fleetgauge.rollup.definitions.loader import METRICS_FOLDER, DefinitionError
from fleetgauge.rollup.definitions.measures import STRICT, Percentile, Tally
from fleetgauge.rollup.sources.elasticsearch_fields import EVENT_TIME

FOLDER = "tests"
QUANTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?)")


def _instant(value: object) -> object:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError(
            f"{plain.shown(value)} is not an instant; write it like 2026-11-21T14:00:00+09:00, or with Z for UTC"
        )
    return value


Instant = Annotated[datetime, BeforeValidator(_instant)]
TableName = Annotated[str, StringConstraints(pattern=r"^([a-z_][a-z0-9_]{0,62}\.)?[a-z_][a-z0-9_]{0,62}$")]
SqlType = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_ ]*(\(\d+(, ?\d+)?\))?(\[\])?$")]
GivenRow = dict[str, Any]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MetricTest:
    """What a metric must make of some rows of its source."""

    now: Instant
    """The instant of the run: what happens from then on is unknown, an open interval lasts until then."""
    given: Annotated[dict[TableName, list[GivenRow]], Field(min_length=1)]
    """Table of the source → its rows. Columns have the type of their values; those that are left out are NULL.

    Of a metric over documents: its source → documents as they are stored, with `@timestamp`.
    """
    expect: Annotated[dict[str, list[GivenRow]], Field(min_length=1)]
    """Level (`minute`, `hour`, `day`, `by_zone_day`) → all its rows; of each the columns that matter."""
    types: dict[TableName, dict[str, SqlType]] = field(default_factory=dict)
    """Table → column → SQL type, where the values do not tell it: a column that is NULL throughout."""
    description: str = ""
    name: str = ""
    """Of the file."""
    shown: str = ""
    """The file's path as problems show it."""


_ADAPTER: TypeAdapter[MetricTest] = TypeAdapter(MetricTest)


def load_tests(content: Path, definitions: Iterable[Definition]) -> dict[str, list[MetricTest]]:
    """Metric → its tests, in alphabetical order. Raises `DefinitionError` with all problems of all files."""
    found: dict[str, list[MetricTest]] = {}
    problems: list[str] = []
    for definition in definitions:
        found[definition.metric] = []
        for path in sorted((content / METRICS_FOLDER / definition.metric / FOLDER).glob("*.yaml")):
            try:
                found[definition.metric].append(_load(path, str(path.relative_to(content)), definition))
            except DefinitionError as error:
                problems += error.problems
    if problems:
        raise DefinitionError(problems)
    return found


def _load(path: Path, shown: str, definition: Definition) -> MetricTest:
    try:
        document = strict_yaml.read(texts.read(path), money=True)
    except Unreadable as error:
        raise DefinitionError([f"{shown}:{error.line}: {error}"]) from None
    if not isinstance(document.value, dict):
        raise DefinitionError([f"{shown}:1: is not a mapping; begin with `now:`, `given:` and `expect:`"])
    told = [(line, f"key {key!r} stands here twice; remove one") for line, key in document.twice()]
    test = None
    try:
        test = replace(_ADAPTER.validate_python(document.value), name=path.stem, shown=shown)
    except ValidationError as error:
        for one in error.errors(include_url=False):
            where = ".".join(str(part) for part in one["loc"] if part != "[key]")
            told.append((document.line(one["loc"]), f"{where}: {_said(one)}"))
    else:
        told += [(document.line(where), said) for where, said in _misfits(test, definition)]
    if told or test is None:
        raise DefinitionError([f"{shown}:{line}: {said}" for line, said in sorted(told)])
    return test


def _said(error: Any) -> str:
    if error["type"] == "unexpected_keyword_argument":
        known = {one.name for one in fields(MetricTest)} - {"name", "shown"}
        return f"is not a known key{plain.nearest(str(error['loc'][-1]), known) or '; remove it'}"
    if error["type"] == "string_pattern_mismatch":
        what = "a table" if error["loc"][-1] == "[key]" else "a type of SQL, such as text or numeric(10, 2)"
        return f"{plain.shown(error['input'])} is not the name of {what}; correct it"
    return plain.said(error)


def _misfits(test: MetricTest, definition: Definition) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What does not go with the metric, by the path of its key."""
    levels = {level.name: level for level in definition.levels}
    if definition.documents is not None:
        yield from _misplaced(test, definition)
    for table, rows in test.given.items():
        for number, row in enumerate(rows):
            for column, value in row.items():
                if isinstance(value, datetime) and value.tzinfo is None:
                    naive = f"{column}: {value} has no offset from UTC; write it like 2026-11-21T14:00:00+09:00"
                    yield ("given", table, number, column), naive
    for name, rows in test.expect.items():
        if name not in levels:
            yield ("expect", name), f"{name} is no level of the metric; write one of {', '.join(levels)}"
            continue
        known = columns(definition, levels[name])
        key = {column for row in rows for column in row} & set(keys(levels[name]))
        for number, row in enumerate(rows):
            for column, value in row.items():
                where = ("expect", name, number, column)
                if column not in known:
                    yield where, f"{name} has no column {column}; it has {', '.join(known)}"
                elif said := _unlike(definition, column, value):
                    yield where, f"{column}: {said}"
            if missing := sorted(key - row.keys()):
                yield ("expect", name, number), f"other rows of {name} say {', '.join(missing)}; say it here too"


def _misplaced(test: MetricTest, definition: Definition) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What a test gives that is no document of the metric's source."""
    for name in test.given:
        if name != definition.source:
            yield ("given", name), f"{name} is not what the metric reads; give documents of {definition.source}"
    if definition.source not in test.given:
        yield ("given",), f"give documents of {definition.source}, or [] for none"
    if test.types:
        yield ("types",), "documents have the types of their contracts; remove it"
    for number, row in enumerate(test.given.get(definition.source, [])):
        if not isinstance(row.get(EVENT_TIME), datetime):
            yield ("given", definition.source, number), f"a document needs its event time, {EVENT_TIME!r}"


def _unlike(definition: Definition, column: str, value: Any) -> str | None:
    """What is wrong with an expected value, whatever the source holds."""
    if column == "window_start" and not (isinstance(value, datetime) and value.tzinfo is not None):
        return f"{plain.shown(value)} is not an instant; write it like 2026-11-21T14:00:00+09:00"
    if column == "date" and (isinstance(value, datetime) or not isinstance(value, date)):
        return f"{plain.shown(value)} is not a date; write it like 2026-11-21"
    if isinstance(definition.measures.get(column), Percentile):
        good = isinstance(value, dict) and value and all(QUANTILE.fullmatch(str(name)) for name in value)
        return None if good else f"{plain.shown(value)} is not a set of quantiles; write it like {{p50: 120, p95: 300}}"
    if isinstance(definition.measures.get(column), Tally):
        good = isinstance(value, dict) and all(type(n) is int for pair in value.items() for n in pair)
        return (
            None
            if good
            else f"{plain.shown(value)} is not a tally; write how often each number occurs, like {{64: 2, 48: 1}}"
        )
    return None


def keys(level: Level) -> list[str]:
    """What tells the rows of a level apart."""
    return ["window_start", *(["date"] if level.grain == "day" else []), *level.dimensions]


def columns(definition: Definition, level: Level) -> list[str]:
    """The columns of a level's view."""
    return [*keys(level), *(c.name for c in definition.columns), *definition.ratios, "provisional"]
