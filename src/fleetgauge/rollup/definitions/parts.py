"""The parts of a definition that are more than one value: each key of `metric.yaml` with keys of its own.

What a part alone can say wrong is told here; what does not fit together, by `definition`.
"""

from collections.abc import Iterable
from dataclasses import field
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator
from pydantic.dataclasses import dataclass

from fleetgauge.rollup.definitions.checks import Check, parse_check
from fleetgauge.rollup.definitions.measures import STRICT, FieldPath, Identifier, Where
from fleetgauge.rollup.definitions.periods import Day, Period


class Misfit(ValueError):
    """Parts of a definition that are right by themselves do not fit together; each problem with the path of its key."""

    def __init__(self, problems: Iterable[tuple[tuple[str | int, ...], str]]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            "; ".join(f"{'.'.join(map(str, path))}: {said}".removeprefix(": ") for path, said in self.problems)
        )


CheckText = Annotated[
    Check,
    BeforeValidator(parse_check, json_schema_input_type=str),
    PlainSerializer(lambda check: check.text, return_type=str, when_used="json"),
]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Dimension:
    """A column of source.sql to group by. The first `limit` values have their own rows, later ones become `(other)`."""

    column: FieldPath
    """Column of source.sql, or field of the documents."""
    limit: Annotated[int, Field(strict=True, ge=1, le=100_000)]
    """How many distinct values there may be."""
    tile: Annotated[int, Field(strict=True, ge=0, le=20)] | None = None
    """Of a geo point of documents: the value is the map tile that it lies in, `15/27945/12689`, at this zoom; at 15 a
    tile of Seoul is some 970 m wide."""
    description: str = ""
    """What readers see beside the column."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Checks:
    """Comparisons of measures that each stored minute row must satisfy: `completed <= started`."""

    fail: list[CheckText] = field(default_factory=list)
    """A minute that breaks one keeps its old rows, and stays provisional until it holds."""
    warn: list[CheckText] = field(default_factory=list)
    """Only logged."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Retention:
    """How long rows are kept at least, by grain; null keeps them for ever. They go by whole partitions."""

    minute: Period | None = None
    hour: Period | None = None
    day: Period | None = None


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Accepts:
    """Which event times are possible. Rows of others are left out and counted, so that one of them drags no history
    along. Midnights are those of UTC."""

    earliest: Day = date(2000, 1, 1)
    before: Day = date(2100, 1, 1)
    ahead: Period = timedelta(days=30)
    """How far after the source's own time an event time may lie: rows of later ones wait, left out, until then."""

    def latest_time(self, now: datetime) -> datetime:
        """Rows from this minute on wait, while it is `now` at the source."""
        return (now.astimezone(UTC) + self.ahead).replace(second=0, microsecond=0)

    @property
    def instants(self) -> tuple[datetime, datetime]:
        """The first instant that is possible, and the first that is not any more."""
        earliest, before = (datetime.combine(day, time(), UTC) for day in (self.earliest, self.before))
        return earliest, before


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Freshness:
    """How long after a window's end, beside its grace, it may stay open before somebody is told."""

    warn: Period = timedelta(minutes=5)
    error: Period = timedelta(minutes=15)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Interval:
    """Each row holds from its event time until another instant: by a column, or until the next row of the same thing.

    Given both ways of ending, a row would be ambiguous; given neither, endless.
    """

    longest: Period
    """A row counts for so long at most; also how far back rows are looked for."""
    until: Identifier | None = None
    """Column with the end; NULL while it lasts."""
    until_next_of: Identifier | None = None
    """Column that names the thing, such as a vehicle, whose next row ends this one."""
    then_by: Identifier | None = None
    """Which of two rows of a thing at the same instant comes later: the greater in this column."""
    known_within: Period | None = None
    """Most ends are known so long after they happened, which saves runs work; a later one counts all the same."""

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        problems: list[tuple[tuple[str | int, ...], str]] = []
        if (self.until is None) == (self.until_next_of is None):
            problems.append(((), "give one of until and until_next_of"))
        if self.until is None and self.known_within is not None:
            problems.append((("known_within",), "goes with until; remove it"))
        if self.until_next_of is None and self.then_by is not None:
            problems.append((("then_by",), "goes with until_next_of; remove it"))
        if problems:
            raise Misfit(problems)
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Privacy:
    """What published views keep back: a number about so few persons that it tells of each of them."""

    of: Identifier
    """The distinct measure that counts the persons."""
    k: Annotated[int, Field(strict=True, ge=2, le=100)] = 10
    """A cell with fewer persons is kept back; up to 100, for so many are counted exactly."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Documents:
    """Facts that a consumer has stored in Elasticsearch: its documents that fulfil `where`."""

    where: Where = field(default_factory=dict)
