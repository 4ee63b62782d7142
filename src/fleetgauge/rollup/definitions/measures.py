"""What is measured: the aggregates that a definition may ask for, all of a kind that merges into hours and days."""

from collections.abc import Mapping
from dataclasses import field
from datetime import date
from typing import Annotated, Literal

from pydantic import ConfigDict, Discriminator, Field, PlainValidator, StrictBool, StringConstraints, Tag
from pydantic.dataclasses import dataclass

from fleetgauge.files.plain import shown

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True)

IDENTIFIER_LENGTH = 48

Identifier = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-z][a-z0-9_]{0,47}$")]

FieldPath = Annotated[
    str, StringConstraints(strict=True, pattern=r"^@?[A-Za-z][A-Za-z0-9_]{0,47}(\.[A-Za-z][A-Za-z0-9_]{0,47})*$")
]
"""A column of source.sql, which is an identifier, or a field of documents, such as `device.model`."""


def _scalar(value: object) -> object:
    if not isinstance(value, bool | int | float | str):
        if isinstance(value, date):
            raise ValueError(f'{shown(value)} is a date to YAML; write "{shown(value)}" in quotes')
        raise ValueError(f"{shown(value)} is not a value; write a text, a number, true or false")
    return value


def _form(value: object) -> str:
    return "list" if isinstance(value, list) else "comparison" if isinstance(value, dict | Comparison) else "value"


Scalar = Annotated[bool | int | float | str, PlainValidator(_scalar, json_schema_input_type=bool | int | float | str)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
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
    FieldPath,
    Annotated[
        Annotated[Scalar, Tag("value")]
        | Annotated[list[Scalar], Field(min_length=1), Tag("list")]
        | Annotated[Comparison, Tag("comparison")],
        Discriminator(_form),
    ],
]
"""Predicates on columns or fields, joined by AND: a value (equals), a list (one of) or a comparison."""


Unit = Literal[
    "count", "ratio", "percent", "KRW", "EUR", "USD", "JPY", "GBP", "s", "ms", "bytes", "m", "m/s", "celsius", "instant"
]
"""What a measure is counted in. A `ratio` is 1 for the whole, `percent` is 100 for it; `instant` is ms since 1970."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Presented:
    """What readers see of a measure; none of it changes a number."""

    label: str = ""
    """A few words for titles and tables: `Fares`; if not given, made of its name."""
    unit: Unit | None = None
    """What it is counted in; if not given, by its kind and the end of its name."""
    description: str = ""
    """What it says, in a sentence."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Count(Presented):
    """How many rows."""

    agg: Literal["count"]
    where: Where = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Sum(Presented):
    """Sum of a column; exact, so there is no floating type. No row: 0."""

    agg: Literal["sum"]
    of: FieldPath
    type: Literal["integer", "numeric"] | None = None
    """By default numeric, which holds whole numbers and fractions exactly."""
    where: Where = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Extreme(Presented):
    """Least or greatest value of a column. No row: NULL."""

    agg: Literal["min", "max"]
    of: FieldPath
    type: Literal["integer", "numeric", "float"] | None = None
    """By default numeric, which holds whole numbers and fractions exactly."""
    where: Where = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Percentile(Presented):
    """A sketch of a distribution: `fleetgauge.quantile(measure, 0.95)` is within 1 % of the nearest-rank quantile."""

    agg: Literal["percentile"]
    of: FieldPath
    where: Where = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Tally(Presented):
    """How often each whole number occurs, exactly: payload sizes, that a price by size needs.

    Rows without a whole number are counted beside it, as `<measure>_unknown`. It grows with the different values.
    """

    agg: Literal["tally"]
    of: FieldPath
    where: Where = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Distinct(Presented):
    """A sketch of a set: `fleetgauge.distinct(measure)` counts its different values.

    Exactly up to 128, above with a standard error of 1.5 %.
    """

    agg: Literal["distinct"]
    of: FieldPath
    personal: StrictBool = True
    """Whether the values stand for persons: they are told apart by keyed fingerprints then, which need a key."""
    where: Where = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Last(Presented):
    """The value at the latest event time, which is kept beside it as `<measure>_at`. Of equal times the greatest."""

    agg: Literal["last"]
    of: FieldPath
    type: Literal["integer", "numeric", "float", "text"] | None = None
    """By default numeric, which holds whole numbers and fractions exactly; a column of texts needs text."""
    where: Where = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Duration(Presented):
    """Seconds, exact to the microsecond, that the rows' intervals overlap the window. Needs `interval`."""

    agg: Literal["duration"]
    where: Where = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Ratio(Presented):
    """Quotient of two stored measures; only the view knows it, so that it stays right at every grain."""

    agg: Literal["ratio"]
    numerator: Identifier
    denominator: Identifier


StoredMeasure = Count | Sum | Extreme | Percentile | Tally | Distinct | Last | Duration
Measure = Annotated[
    Count | Sum | Extreme | Percentile | Tally | Distinct | Last | Duration | Ratio, Field(discriminator="agg")
]

MEASURES: Mapping[str, type] = {
    "count": Count,
    "sum": Sum,
    "min": Extreme,
    "max": Extreme,
    "ratio": Ratio,
    "percentile": Percentile,
    "tally": Tally,
    "distinct": Distinct,
    "last": Last,
    "duration": Duration,
}
"""What may stand as `agg`."""

Additive = Count | Sum | Duration
"""What adds up over windows and dimensions alike, so that totals can be compared."""

Number = Count | Sum | Extreme | Duration
"""What a check or a ratio may name."""


_ENDS: Mapping[str, Unit] = {
    "_krw": "KRW",
    "_ms": "ms",
    "_s": "s",
    "_m": "m",
    "bytes": "bytes",
    "_percent": "percent",
}
"""Ends of measures' names, and the unit that they tell."""


def unit_of(name: str, measure: StoredMeasure | Ratio) -> Unit:
    """What a measure is counted in: as the definition says, else by its kind and the end of its name."""
    if measure.unit is not None:
        return measure.unit
    if isinstance(measure, Ratio):
        return "ratio"
    if isinstance(measure, Duration):
        return "s"
    if isinstance(measure, Count | Distinct):
        return "count"
    return next((unit for end, unit in _ENDS.items() if name.endswith(end)), "count")


def label_of(name: str, measure: StoredMeasure | Ratio) -> str:
    """What a measure is called: as the definition says, else its name as words, without a unit at its end."""
    if measure.label:
        return measure.label
    words = next((name.removesuffix(end) for end in _ENDS if end.startswith("_") and name.endswith(end)), name)
    return words.replace("_", " ").capitalize()


def statistic_of(measure: StoredMeasure | Ratio) -> str:
    """Which statistic of several rows is shown where there is room for one number."""
    match measure:
        case Count():
            return "number"
        case Sum() | Duration():
            return "sum"
        case Extreme(agg="min"):
            return "minimum"
        case Extreme():
            return "maximum"
        case Percentile() | Tally():
            return "95th percentile"
        case Distinct():
            return "different values"
        case Last():
            return "latest value"
        case Ratio():
            return f"{measure.numerator} / {measure.denominator}"


@dataclass(frozen=True)
class Column:
    """One column of the tables. Most measures have one; a `last` has its time beside it, a `tally` what is unknown."""

    name: str
    measure: StoredMeasure
    beside: bool = False
    """Whether it is the time of a `last`, or how many rows a `tally` has without a value."""


def columns_of(name: str, measure: StoredMeasure) -> tuple[Column, ...]:
    """The columns that a stored measure takes."""
    if isinstance(measure, Last):
        return Column(name, measure), Column(f"{name}_at", measure, beside=True)
    if isinstance(measure, Tally):
        return Column(name, measure), Column(f"{name}_unknown", measure, beside=True)
    return (Column(name, measure),)
