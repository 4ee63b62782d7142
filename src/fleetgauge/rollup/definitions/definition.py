"""What a metric is: frozen dataclasses that `metric.yaml` is parsed into, and the version that its numbers carry.

Everything here is checked when it is read, for a definition is data that becomes SQL. Nothing here touches a database.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from fleetgauge.rollup.definitions.checks import Check, fitting
from fleetgauge.rollup.definitions.gauge_exports import GaugeExport, export_problems
from fleetgauge.rollup.definitions.levels import GRAINS, Grain, Level, levels
from fleetgauge.rollup.definitions.measures import (
    STRICT,
    Column,
    Count,
    Distinct,
    Duration,
    FieldPath,
    Identifier,
    Measure,
    Number,
    Ratio,
    StoredMeasure,
    Sum,
    columns_of,
)
from fleetgauge.rollup.definitions.parts import (
    Accepts,
    Checks,
    Dimension,
    Documents,
    Freshness,
    Interval,
    Misfit,
    Privacy,
    Retention,
)
from fleetgauge.rollup.definitions.periods import Offset, Period, TimeZone
from fleetgauge.rollup.definitions.sql_words import Dialect
from fleetgauge.rollup.definitions.version import fingerprint

COMMANDS = "commands"
"""The name by which a definition calls the metrics database itself as its source."""

RESERVED = frozenset({"window_start", "date", "provisional", "version", "bucket_start", "window_grain"})
VARIABLES = frozenset({"bucket", "by", "grain", "resolution", "sample"})
"""What the metric's dashboard asks its reader besides a value of each dimension."""

NAME_LENGTH = 32
"""How long a metric's name may be: names of tables, views and partitions begin with it."""

SUBSET_LENGTH = 20
"""How long the name of a subset of dimensions may be."""

RECONCILED = timedelta(days=35)
"""How far back sums are compared with the source every day."""


_Problems = Iterator[tuple[tuple[str | int, ...], str]]

SubsetName = Annotated[Identifier, Field(max_length=SUBSET_LENGTH)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Definition:
    """One metric. `source_sql` and `views_sql` come from the files beside `metric.yaml`."""

    metric: Annotated[Identifier, Field(max_length=NAME_LENGTH)]
    """Its name, that of its folder; tables and views begin with it."""
    source: Identifier
    """Which of the configured databases, or `commands` for the metrics database itself; with `documents` a consumer."""
    event_time: FieldPath
    """Column with the instant that decides in which window a row counts. It never changes."""
    measures: Annotated[dict[Identifier, Measure], Field(min_length=1)]
    """What is measured, by the name of the column."""
    source_sql: str = ""
    dialect: Dialect = "postgres"
    """Which SQL source.sql is written in: `mysql` for a source that is MariaDB or MySQL."""
    datetime_offset: Offset | None = None
    """What DATETIME columns of a `mysql` source are written in, as UTC or +09:00; they name no instant themselves."""
    dimensions: dict[Identifier, Dimension] = field(default_factory=dict)
    """What numbers are split by, by the name of the column."""
    documents: Documents | None = None
    """Stands in place of source.sql; `source` is then the file of a consumer, and columns are paths of fields."""
    grains: Annotated[list[Grain], Field(min_length=1)] = field(default_factory=lambda: list(GRAINS))
    """Which windows it has: all, or only `[hour, day]` or `[day]`, for dimensions of very many values such as devices.
    It is computed from the source at the finest of them, and such a window is there once it has ended."""
    change_time: Identifier | None = None
    """Column with the time of the transaction that wrote the row last; null: rows never change once they are there."""
    key: Identifier | None = None
    """Column that identifies a row whose event time or dimensions may change: where it was is then remembered."""
    immutable: Annotated[str, Field(strict=True, min_length=1)] | None = None
    """Why the event time and the dimensions of a row never change, where rows change and no key follows them."""
    time_zone: TimeZone = "Asia/Seoul"
    """IANA name; days are those of this zone. Asia/Seoul if not given."""
    grace: Period = timedelta(seconds=30)
    """A window closes so long after its end."""
    provisional_while: Identifier | None = None
    """A count; rows in which it is not 0 may still change."""
    interval: Interval | None = None
    """How long a row holds, for durations."""
    rollups: dict[SubsetName, list[Identifier]] = field(default_factory=dict)
    """Subsets of the dimensions that are stored besides, merged, at hour and day; the name is part of the view's."""
    accepts: Accepts = field(default_factory=Accepts)
    """Event times that are possible; rows of others are left out, by reason."""
    late: Period = timedelta(0)
    """How late facts are still accepted by the source."""
    source_kept: Period | None = None
    """How long the source keeps its facts; null: for ever. What is older is frozen, late facts of it are counted."""
    checks: Checks = field(default_factory=Checks)
    """What must hold in every row."""
    retention: Retention = field(default_factory=Retention)
    """How long rows are kept."""
    freshness: Freshness = field(default_factory=Freshness)
    """How old its final numbers may be."""
    privacy: Privacy | None = None
    """What its views keep back from readers; null: nothing."""
    export: list[GaugeExport] = field(default_factory=list)
    """Numbers over the newest final windows that the exporter has as gauges, for alerts."""
    views_sql: str | None = None
    description: str = ""
    """What the metric says, for its readers."""
    owner: str = ""
    """The team to ask."""
    distinct_key: str | None = None
    """Id of the key of its fingerprints, from the settings; None where they need none, or none is set."""
    lines: dict[str, int] = field(default_factory=dict, compare=False, repr=False)
    """Where its keys stand in metric.yaml; empty if it comes from nowhere near a file."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = [*self._name_problems(), *self._column_problems(), *self._measure_problems()]
        if tuple(self.grains) not in (GRAINS, GRAINS[1:], GRAINS[2:]):
            problems.append((("grains",), "write [minute, hour, day], [hour, day] or [day]"))
        elif any(getattr(self.retention, grain) is not None for grain in GRAINS if grain not in self.grains):
            problems.append((("retention",), f"names a grain that is not kept; grains are {', '.join(self.grains)}"))
        kept = {grain: getattr(self.retention, grain) for grain in GRAINS}
        problems += export_problems(self.export, self.measures, self.dimensions, self.levels, kept)
        if self.accepts.earliest >= self.accepts.before:
            problems.append((("accepts", "before"), f"must lie after earliest, {self.accepts.earliest}"))
        if self.source_kept is not None and self.source_kept < self.late + RECONCILED:
            said = (
                f"must be at least late + {RECONCILED.days} d, the span that is reconciled daily; "
                "else late facts could meet windows that cannot be recomputed"
            )
            problems.append((("source_kept",), said))
        if problems:
            raise Misfit(problems)
        return self

    def _name_problems(self) -> _Problems:
        columns = [column.name for column in self.columns]
        for name in sorted(set(self.dimensions) & {*self.measures, *columns}):
            yield ("dimensions", name), f"{name} is both a dimension and a measure; rename one"
        for name in sorted({name for name in columns if columns.count(name) > 1}):
            yield ("measures", name), f"two measures have a column {name}; rename one"
        for part, names in (("dimensions", self.dimensions), ("measures", self.measures)):
            for name in sorted(RESERVED & set(names)):
                yield (part, name), f"{name} is a column that every view has; choose another name"
        for name in sorted(VARIABLES & set(self.dimensions)):
            yield ("dimensions", name), f"{name} is a variable of every dashboard; choose another name, column can stay"
        for name, kept in self.rollups.items():
            unknown = [n for n in kept if n not in self.dimensions]
            if unknown:
                yield ("rollups", name), f"{', '.join(unknown)} is no dimension"
            elif len(set(kept)) < len(kept) or len(kept) >= len(self.dimensions):
                yield ("rollups", name), "name fewer dimensions than there are, each once"
        for level in self.levels:
            if len(self.view(level)) > 40:
                subset = level.name.removesuffix(f"_{level.grain}")
                said = f"{self.view(level)} is longer than the 40 letters that a view's name may have here; shorten it"
                yield ("rollups", subset), said

    def _column_problems(self) -> _Problems:
        """What a query could not use; fields of documents are compared with the contracts instead."""
        if (self.documents is None) == (not self.source_sql):
            yield ("documents",), "give one of source.sql and documents"
        if self.dialect != "postgres" and (self.documents is not None or self.source == COMMANDS):
            yield ("dialect",), "is of a source that is MariaDB or MySQL; remove it"
        if self.dialect == "mysql" and self.interval is not None:
            said = (
                "durations are not computed on MariaDB or MySQL; let production write each row's seconds into a column"
            )
            yield ("interval",), f"{said}, and sum them up"
        if self.datetime_offset is not None and self.dialect != "mysql":
            yield ("datetime_offset",), "goes with dialect: mysql; a Postgres source says AT TIME ZONE in source.sql"
        if self.documents is not None:
            return
        named: list[tuple[tuple[str | int, ...], str]] = [(("event_time",), self.event_time)]
        named += [(("dimensions", name, "column"), d.column) for name, d in self.dimensions.items()]
        for name, measure in self.stored.items():
            if not isinstance(measure, Count | Duration):
                named.append((("measures", name, "of"), measure.of))
            named += [(("measures", name, "where", column), column) for column in measure.where]
        for name, dimension in self.dimensions.items():
            if dimension.tile is not None:
                yield ("dimensions", name, "tile"), "is of a geo point of documents; let source.sql give the tile"
        for path, column in named:
            if not re.fullmatch("[a-z][a-z0-9_]*", column):
                yield (
                    path,
                    f"{column!r} is not an identifier: lower-case letters, digits and _, beginning with a letter",
                )

    def _measure_problems(self) -> _Problems:
        stored = self.stored
        for name, ratio in self.ratios.items():
            for part, key in ((ratio.numerator, "numerator"), (ratio.denominator, "denominator")):
                if not isinstance(stored.get(part), Number):
                    said = f"{part} is not a stored number (count, sum, min, max or duration)"
                    yield ("measures", name, key), said
        for name, measure in stored.items():
            if isinstance(measure, Duration) and self.interval is None:
                yield ("measures", name), "a duration needs to know how long a row holds; add interval"
        if self.interval is not None and not any(isinstance(measure, Duration) for measure in stored.values()):
            yield ("interval",), "is for measures of kind duration, of which there is none; remove it, or add one"
        if self.key is not None and (self.change_time is None or self.interval is not None or self.documents):
            yield ("key",), "goes with change_time, and neither with interval nor with documents, which never move"
        if self.privacy is not None:
            yield from self._privacy_problems(self.privacy)
        open_rows = self.provisional_while
        if open_rows is not None and not isinstance(stored.get(open_rows), Count):
            yield ("provisional_while",), f"{open_rows} is not a measure of kind count"
        for kind, checks in (("fail", self.checks.fail), ("warn", self.checks.warn)):
            for number, check in enumerate(checks):
                unknown = sorted(n for n in check.measures if not isinstance(stored.get(n), Number))
                if unknown:
                    yield ("checks", kind, number), f"{check.text!r} names {', '.join(unknown)}, no stored number"

    def _privacy_problems(self, privacy: Privacy) -> _Problems:
        if privacy.of not in self.personal:
            yield ("privacy", "of"), f"{privacy.of} is not a distinct measure about persons"
        if "suppressed" in {*self.dimensions, *self.measures}:
            yield ("privacy",), "the views get a column suppressed; give that dimension or measure another name"

    @property
    def hidden(self) -> tuple[str, ...]:
        """The measures that views keep back where there are few persons, the one that counts these first.

        Counts and sums stay, for they must add up.
        """
        if self.privacy is None:
            return ()
        return self.privacy.of, *(name for name in self.personal if name != self.privacy.of)

    @property
    def sees_changes(self) -> bool:
        """Whether a run learns which rows have changed; if not, every window is read once, after its grace."""
        return self.change_time is not None or self.documents is not None

    @property
    def personal(self) -> tuple[str, ...]:
        """The measures whose fingerprints need a key."""
        return tuple(name for name, m in self.measures.items() if isinstance(m, Distinct) and m.personal)

    def keyed(self, key_id: str | None) -> "Definition":
        """The same with fingerprints by the key of this id: another version, unless it needs no key."""
        return dataclasses.replace(self, distinct_key=key_id) if self.personal else self

    @property
    def lacks_key(self) -> str | None:
        """Why no run may compute it, with what to do; None if one may."""
        if not self.personal or self.distinct_key is not None:
            return None
        return (
            f"metric {self.metric}: {', '.join(self.personal)} is about persons, whose fingerprints need a key, and "
            "rollup.distinct_key is not set; make one with fleetgauge metrics key and set "
            "FLEETGAUGE_ROLLUP__DISTINCT_KEY wherever runs are made, or say personal: false if the values stand for "
            "nobody"
        )

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the tables that measures take, in order."""
        return tuple(column for name, measure in self.stored.items() for column in columns_of(name, measure))

    @property
    def levels(self) -> tuple[Level, ...]:
        """Its tables, each after the one that it is merged from."""
        return levels(tuple(self.dimensions), {name: tuple(kept) for name, kept in self.rollups.items()}, self.grains)

    @property
    def finest(self) -> Grain:
        """The grain at which it is computed from its source."""
        return self.grains[0]

    @property
    def compared(self) -> Grain:
        """The grain at which it is compared with its source."""
        return "hour" if "hour" in self.grains else "day"

    @property
    def stored(self) -> dict[str, StoredMeasure]:
        """The measures that are columns of the tables, in order."""
        return {name: m for name, m in self.measures.items() if not isinstance(m, Ratio)}

    @property
    def blocking(self) -> tuple[Check, ...]:
        """The checks that block a cell: those of the definition, and that its sums fit into their columns."""
        sums = (n for n, m in self.stored.items() if isinstance(m, Sum) and m.type == "integer")
        return *self.checks.fail, *(check for name in sums for check in fitting(name))

    @property
    def ratios(self) -> dict[str, Ratio]:
        """The measures that exist in the view alone."""
        return {name: m for name, m in self.measures.items() if isinstance(m, Ratio)}

    @cached_property
    def version(self) -> str:
        """Short hash of whatever changes numbers; a definition with another one gets tables of its own."""
        return fingerprint(self.plain())

    def plain(self) -> dict[str, Any]:
        """JSON values that `of_plain` makes the same definition of; what has its default is left out."""
        found: dict[str, Any] = _ADAPTER.dump_python(self, mode="json", exclude_defaults=True)
        found.pop("lines", None)
        return found

    def line(self, path: str) -> int:
        """Where a key, by its path with dots between, stands in metric.yaml; else the key above it; 1 if none does."""
        while path and path not in self.lines:
            path = path.rpartition(".")[0]
        return self.lines.get(path, 1)

    def table(self, level: Level) -> str:
        """The table's name in schema `store`."""
        return f"{self.metric}_{level.name}__{self.version}"

    def view(self, level: Level) -> str:
        """The view's stable name in schema `metrics`."""
        return f"{self.metric}_{level.name}"


_ADAPTER: TypeAdapter[Definition] = TypeAdapter(Definition)


def of_plain(plain: Mapping[str, Any], version: str) -> Definition | None:
    """The definition that `Definition.plain` has told; None if these rules would not take it any more.

    Its tables are called by `version`, whatever today's rules would call it.
    """
    try:
        return called(_ADAPTER.validate_python(plain), version)
    except ValidationError:
        return None


def called(one: Definition, version: str) -> Definition:
    """The same definition, with the version that an older release gave it."""
    vars(one)["version"] = version  # as the cached property would
    return one
