"""The pages `docs/metrics/*.md`, made from the definitions by `fleetgauge metrics docs`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import sqlglot
from sqlglot import exp

from fleetgauge.rollup.definitions.definition import COMMANDS, Definition
from fleetgauge.rollup.definitions.levels import Level
from fleetgauge.rollup.definitions.loader import METRICS_FOLDER
from fleetgauge.rollup.definitions.measures import (
    Comparison,
    Count,
    Distinct,
    Duration,
    Extreme,
    Last,
    Measure,
    Percentile,
    Ratio,
    Sum,
    Tally,
    Where,
    label_of,
    unit_of,
)
from fleetgauge.rollup.metric_tests import MetricTest

FOLDER = Path("docs") / "metrics"
_MADE = "<!-- made by `fleetgauge metrics docs` -->"
_OPERATORS = {"eq": "=", "ne": "≠", "lt": "<", "lte": "≤", "gt": ">", "gte": "≥"}


def pages(definitions: Mapping[str, Definition], tests: Mapping[str, Sequence[MetricTest]]) -> dict[Path, str]:
    """Path below the content → text, for each metric and the list of them."""
    made = {FOLDER / f"{name}.md": _page(one, tests.get(name, ())) for name, one in definitions.items()}
    return {FOLDER / "README.md": _list(definitions.values()), **made}


def gone(content: Path, wanted: Mapping[Path, str]) -> list[Path]:
    """Generated pages of metrics that are no more. Pages written by hand are left alone."""
    there = (path.relative_to(content) for path in sorted((content / FOLDER).glob("*.md")))
    return [path for path in there if path not in wanted and _MADE in (content / path).read_text("utf-8")]


def tables_of(definition: Definition) -> list[str]:
    """What source.sql reads, as it names it, in alphabetical order."""
    if not definition.source_sql:
        return []
    query = sqlglot.parse_one(definition.source_sql, dialect=definition.dialect)
    own = {cte.alias for cte in query.find_all(exp.CTE)}
    found = {f"{t.db}.{t.name}" if t.db else t.name for t in query.find_all(exp.Table) if t.db or t.name not in own}
    return sorted(found - {""})


def over_rows(name: str, measure: Measure) -> str:
    """The SQL that reads a measure over several rows: windows or dimension values."""
    match measure:
        case Count() | Sum() | Duration():
            return f"sum({name})"
        case Extreme(agg=agg):
            return f"{agg}({name})"
        case Percentile():
            return f"fleetgauge.quantile(fleetgauge.sketch_merge({name}), 0.95)"
        case Tally():
            return f"fleetgauge.tally_quantile(fleetgauge.tally_merge({name}), 0.95)"
        case Distinct():
            return f"fleetgauge.distinct_count(stem, '{name}', since, until)"
        case Last():
            return f"(array_agg({name} ORDER BY {name}_at DESC NULLS LAST))[1]"
        case Ratio():
            return f"sum({measure.numerator})::float8 / nullif(sum({measure.denominator}), 0)"


def _list(definitions: Iterable[Definition]) -> str:
    lines = [_MADE, "# Metrics", "", "| metric | what it says | source | owner |", "| --- | --- | --- | --- |"]
    for one in definitions:
        lines.append(f"| [{one.metric}]({one.metric}.md) | {_cell(one.description)} | {one.source} | {one.owner} |")
    lines += ["", "How to add one: [adding-a-metric.md](../adding-a-metric.md)."]
    return "\n".join(lines) + "\n"


def _page(one: Definition, tests: Sequence[MetricTest]) -> str:
    parts = (_head(one), _columns(one), _views(one), _rules(one), _source(one), _tests(tests))
    return "\n".join(line for part in parts for line in part) + "\n"


def _head(one: Definition) -> Iterator[str]:
    yield from (_MADE, f"# {one.metric}", "", " ".join(one.description.split()) or "No description.", "")
    if one.documents is not None:
        yield f"- Source: documents of consumer `{one.source}`" + (
            f" with {_where(one.documents.where)}." if one.documents.where else "."
        )
    else:
        where = "the metrics database" if one.source == COMMANDS else f"source `{one.source}`"
        yield f"- Source: {', '.join(f'`{name}`' for name in tables_of(one))} in {where}."
    if one.owner:
        yield f"- Owner: {one.owner}."
    changes = f"; changed rows are found by `{one.change_time}`" if one.change_time else ""
    yield f"- A row counts in the window of its `{one.event_time}`{changes}. Days are those of {one.time_zone}."
    if one.interval is not None:
        until, thing = one.interval.until, one.interval.until_next_of
        end = f"`{until}`" if until else f"the next row of the same `{thing}`"
        yield f"- A row holds until {end}, for {_span(one.interval.longest)} at most."
    waits = f", and while `{one.provisional_while}` is not 0" if one.provisional_while else ""
    yield f"- Provisional until {_span(one.grace)} after the end of the window{waits}."
    if one.source_kept is not None:
        yield f"- The source keeps {_span(one.source_kept)}; what is older is frozen."


def _columns(one: Definition) -> Iterator[str]:
    yield from ("", "## Dimensions", "", "| column | from | values | meaning |", "| --- | --- | --- | --- |")
    for name, dimension in one.dimensions.items():
        yield f"| `{name}` | `{dimension.column}` | up to {dimension.limit} | {_cell(dimension.description)} |"
    heads = ("| column | called | unit | is | over several rows | meaning |", "| --- | --- | --- | --- | --- | --- |")
    yield from ("", "## Measures", "", *heads)
    for name, measure in one.measures.items():
        called = f"{_cell(label_of(name, measure))} | {unit_of(name, measure)}"
        yield f"| `{name}` | {called} | {_is(measure)} | `{over_rows(name, measure)}` | {_cell(measure.description)} |"


def _is(measure: Measure) -> str:
    if isinstance(measure, Ratio):
        return f"`{measure.numerator}` / `{measure.denominator}`"
    if isinstance(measure, Count | Duration):
        what = "rows" if measure.agg == "count" else "seconds that rows hold"
    else:
        what = f"{measure.agg} of `{measure.of}`"
    return what + (f" with {_where(measure.where)}" if measure.where else "")


def _where(where: Where) -> str:
    return " and ".join(part for column, test in where.items() for part in _tested(column, test))


def _tested(column: str, test: object) -> Iterator[str]:
    if isinstance(test, list):
        yield f"`{column}` one of {', '.join(map(_value, test))}"
    elif not isinstance(test, Comparison):
        yield f"`{column}` = {_value(test)}"
    else:
        for name, sign in _OPERATORS.items():
            if getattr(test, name) is not None:
                yield f"`{column}` {sign} {_value(getattr(test, name))}"
        if test.not_in:
            yield f"`{column}` none of {', '.join(map(_value, test.not_in))}"
        if test.is_null is not None:
            yield f"`{column}` {'missing' if test.is_null else 'there'}"


def _views(one: Definition) -> Iterator[str]:
    yield from (
        "",
        "## Views",
        "",
        "| view | window | dimensions | made from | kept |",
        "| --- | --- | --- | --- | --- |",
    )
    levels = {level.name: level for level in one.levels}
    for level in one.levels:
        below = f"`metrics.{one.view(levels[level.below])}`" if level.below else "the source"
        yield (
            f"| `metrics.{one.view(level)}` | {level.grain} | {', '.join(level.dimensions) or 'none'} | {below}"
            f" | {_kept(one, level)} |"
        )
    plain = (name for name, measure in one.measures.items() if not isinstance(measure, Distinct))
    first = next(plain, next(iter(one.measures)))
    by = next(iter(one.dimensions), None)
    chosen = ", ".join(["date", *([by] if by else []), f"{over_rows(first, one.measures[first])} AS {first}"])
    yield from (
        "",
        "```sql",
        f"SELECT {chosen}",
        f"FROM metrics.{one.view(levels['day'])}",
        f"WHERE window_start >= now() - interval '30 days' GROUP BY {'1, 2 ORDER BY 1, 2' if by else '1 ORDER BY 1'};",
        "```",
    )


def _kept(one: Definition, level: Level) -> str:
    kept: timedelta | None = getattr(one.retention, level.grain)
    return "for ever" if kept is None else f"{_span(kept)} at least"


def _rules(one: Definition) -> Iterator[str]:
    if not one.checks.fail and not one.checks.warn:
        return
    yield from ("", "## Checks", "")
    for check in one.checks.fail:
        yield f"- `{check.text}`; a minute that breaks it keeps its old rows and stays provisional."
    for check in one.checks.warn:
        yield f"- `{check.text}`; is logged when broken."


def _source(one: Definition) -> Iterator[str]:
    folder = f"../../{(METRICS_FOLDER / one.metric).as_posix()}"
    yield from ("", "## Definition", "", f"[metric.yaml]({folder}/metric.yaml)")
    if one.source_sql:
        yield from ("", f"[source.sql]({folder}/source.sql):", "", "```sql", one.source_sql, "```")
    if one.views_sql is not None:
        yield from ("", f"Views of its own: [views.sql]({folder}/views.sql).")


def _tests(tests: Sequence[MetricTest]) -> Iterator[str]:
    if not tests:
        return
    yield from (
        "",
        "## Worked examples",
        "",
        "Rows of the source and what comes of them; `fleetgauge test` runs them.",
        "",
    )
    for test in tests:
        said = " ".join(test.description.split())
        yield f"- [{test.name}](../../{test.shown}): {said}" if said else f"- [{test.name}](../../{test.shown})"


def _span(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    for size, unit in ((365 * 86400, "year"), (86400, "day"), (3600, "hour"), (60, "minute")):
        if (seconds >= 2 * size and seconds % size == 0) or seconds == size:
            return f"{seconds // size} {unit}{'s' if seconds != size else ''}"
    return f"{seconds} seconds"


def _value(value: object) -> str:
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
