"""What a metric is: frozen dataclasses that `metric.yaml` is parsed into, and the version that its numbers carry.

Everything here is checked when it is read, for a definition is data that becomes SQL. Nothing here touches a database.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import field
from datetime import timedelta
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    StrictBool,
    StringConstraints,
    Tag,
    TypeAdapter,
    model_validator,
)
from pydantic.dataclasses import dataclass
from sqlglot.dialects.postgres import Postgres

from fleetgauge.rollup.checks import Check, parse_check

COMMANDS = "commands"
"""The name by which a definition calls the metrics database itself as its source."""

OTHER = "other"
"""What dimension values beyond a dimension's limit are stored as."""

UNKNOWN = "unknown"
"""What a dimension value of NULL is stored as."""

RESERVED = frozenset({"window_start", "date", "provisional"})

Grain = Literal["minute", "hour", "day"]
GRAINS: tuple[Grain, ...] = ("minute", "hour", "day")

Identifier = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-z][a-z0-9_]{0,47}$")]

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "y": 365 * 86400}
_STRICT = ConfigDict(extra="forbid")


def _duration(value: object) -> object:
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"(\d+)(ms|s|m|h|d|y)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is not a duration; write a number and ms, s, m, h, d or y, such as 30s")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def _zone(value: object) -> object:
    try:
        ZoneInfo(str(value))
    except (KeyError, ValueError):
        raise ValueError(f"{value!r} is not an IANA time zone; write one such as Asia/Seoul") from None
    return value


def _scalar(value: object) -> object:
    if not isinstance(value, bool | int | float | str):
        raise ValueError(f"{value!r} is not a value; write a text, a number, true or false")
    return value


def _form(value: object) -> str:
    return "list" if isinstance(value, list) else "comparison" if isinstance(value, dict | Comparison) else "value"


Scalar = Annotated[bool | int | float | str, PlainValidator(_scalar, json_schema_input_type=bool | int | float | str)]
Duration = Annotated[timedelta, BeforeValidator(_duration)]
TimeZone = Annotated[str, BeforeValidator(_zone)]


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Comparison:
    """The long form of a predicate, `{column: {gte: 5, lt: 10}}`; all given parts must hold."""

    eq: Scalar | None = None
    ne: Scalar | None = None
    lt: Scalar | None = None
    lte: Scalar | None = None
    gt: Scalar | None = None
    gte: Scalar | None = None
    not_in: list[Scalar] | None = None
    is_null: StrictBool | None = None


Where = dict[
    Identifier,
    Annotated[
        Annotated[Scalar, Tag("value")]
        | Annotated[list[Scalar], Field(min_length=1), Tag("list")]
        | Annotated[Comparison, Tag("comparison")],
        Discriminator(_form),
    ],
]
"""Predicates on columns of source.sql, joined by AND: a value (equals), a list (one of) or a comparison."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Count:
    """How many rows."""

    agg: Literal["count"]
    where: Where = field(default_factory=dict)
    description: str = ""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Sum:
    """Sum of a column; exact, so there is no floating type. No row: 0."""

    agg: Literal["sum"]
    of: Identifier
    type: Literal["integer", "numeric"] = "integer"
    where: Where = field(default_factory=dict)
    description: str = ""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Extreme:
    """Least or greatest value of a column. No row: NULL."""

    agg: Literal["min", "max"]
    of: Identifier
    type: Literal["integer", "numeric", "float"] = "integer"
    where: Where = field(default_factory=dict)
    description: str = ""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Percentile:
    """A sketch of a distribution: `fleetgauge.quantile(measure, 0.95)` is within 1 % of the nearest-rank quantile."""

    agg: Literal["percentile"]
    of: Identifier
    where: Where = field(default_factory=dict)
    description: str = ""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Ratio:
    """Quotient of two stored measures; only the view knows it, so that it stays right at every grain."""

    agg: Literal["ratio"]
    numerator: Identifier
    denominator: Identifier
    description: str = ""


StoredMeasure = Count | Sum | Extreme | Percentile
Measure = Annotated[Count | Sum | Extreme | Percentile | Ratio, Field(discriminator="agg")]


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Dimension:
    """A column of source.sql to group by. The first `limit` values seen are kept apart, later ones become `other`."""

    column: Identifier
    limit: Annotated[int, Field(strict=True, ge=1, le=100_000)]
    description: str = ""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Checks:
    """Comparisons of measures that each stored minute row must satisfy: `completed <= started`."""

    fail: list[Annotated[Check, BeforeValidator(parse_check)]] = field(default_factory=list)
    warn: list[Annotated[Check, BeforeValidator(parse_check)]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Retention:
    """How long rows are kept, by grain; null keeps them for ever. Read, not applied yet."""

    minute: Duration | None = None
    hour: Duration | None = None
    day: Duration | None = None


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Definition:
    """One metric. `source_sql` and `views_sql` come from the files beside `metric.yaml`."""

    metric: Annotated[Identifier, Field(max_length=32)]
    source: Identifier
    event_time: Identifier
    measures: Annotated[dict[Identifier, Measure], Field(min_length=1)]
    source_sql: str
    dimensions: dict[Identifier, Dimension] = field(default_factory=dict)
    change_time: Identifier | None = None
    time_zone: TimeZone = "Asia/Seoul"
    grace: Duration = timedelta(seconds=30)
    provisional_while: Identifier | None = None
    checks: Checks = field(default_factory=Checks)
    retention: Retention = field(default_factory=Retention)
    views_sql: str | None = None
    description: str = ""
    owner: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems: list[str] = []
        stored = self.stored
        for name in sorted(set(self.dimensions) & set(self.measures)):
            problems.append(f"{name} is both a dimension and a measure; rename one")
        for name in sorted(RESERVED & {*self.dimensions, *self.measures}):
            problems.append(f"{name} is a column that every view has; choose another name")
        for name, ratio in self.ratios.items():
            for part in (ratio.numerator, ratio.denominator):
                if part not in stored or isinstance(stored[part], Percentile):
                    problems.append(f"measures.{name}: {part} is not a stored number (count, sum, min or max)")
        open_rows = self.provisional_while
        if open_rows is not None and not isinstance(stored.get(open_rows), Count):
            problems.append(f"provisional_while: {open_rows} is not a measure of kind count")
        for level, checks in (("fail", self.checks.fail), ("warn", self.checks.warn)):
            for check in checks:
                unknown = sorted(n for n in check.measures if n not in stored or isinstance(stored[n], Percentile))
                if unknown:
                    problems.append(f"checks.{level}: {check.text!r} names {', '.join(unknown)}, no stored number")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def stored(self) -> dict[str, StoredMeasure]:
        """The measures that are columns of the tables, in order."""
        return {name: m for name, m in self.measures.items() if not isinstance(m, Ratio)}

    @property
    def ratios(self) -> dict[str, Ratio]:
        """The measures that exist in the view alone."""
        return {name: m for name, m in self.measures.items() if isinstance(m, Ratio)}

    @property
    def version(self) -> str:
        """Short hash of whatever changes numbers; a definition with another one gets tables of its own."""
        shape = {
            "source": self.source,
            "source_sql": _tokens(self.source_sql),
            "time_zone": self.time_zone,
            "event_time": self.event_time,
            "dimensions": {n: [d.column, d.limit] for n, d in self.dimensions.items()},
            "measures": {n: _shape(m) for n, m in self.stored.items()},
        }
        text = json.dumps(shape, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def table(self, grain: Grain) -> str:
        """The table's name in schema `store`."""
        return f"{self.metric}_{grain}__{self.version}"

    def view(self, grain: Grain) -> str:
        """The view's stable name in schema `metrics`."""
        return f"{self.metric}_{grain}"


def _tokens(text: str) -> str:
    """SQL without comments and layout: a remark must not make a new version."""
    marks = {"STRING": "'", "IDENTIFIER": '"'}
    return " ".join(marks.get(t.token_type.name, "") + t.text for t in Postgres().tokenize(text))


_MEASURE: TypeAdapter[StoredMeasure] = TypeAdapter(StoredMeasure)


def _shape(measure: StoredMeasure) -> Mapping[str, Any]:
    plain: dict[str, Any] = _MEASURE.dump_python(measure, mode="json")
    plain.pop("description", None)
    return plain
