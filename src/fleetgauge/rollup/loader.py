"""Read `sql/metrics/<metric>/` folders. Touches files only, so that a DAG file may call it while it is parsed."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import sqlglot
import yaml
from pydantic import TypeAdapter, ValidationError
from sqlglot import exp

from fleetgauge.errors import Terminal
from fleetgauge.rollup.definition import Definition

METRICS_FOLDER = Path("sql") / "metrics"

_ADAPTER: TypeAdapter[Definition] = TypeAdapter(Definition)
_NOT_MERGEABLE = {"avg", "average", "mean", "median", "stddev", "variance", "mode"}
_KINDS = "count, sum, min, max, ratio or percentile"


class DefinitionError(Terminal):
    """One or more definitions are not valid; `problems` has one line for each, beginning with the file."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("definitions are not valid; correct these:\n" + "\n".join(f"  {p}" for p in problems))


class _UniqueKeys(yaml.SafeLoader):
    """Plain YAML lets a second key of the same name win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key: Hashable = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"key {key!r} stands here twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def load_definitions(content_root: Path) -> dict[str, Definition]:
    """All metrics below `<content_root>/sql/metrics`, by name. Raises `DefinitionError` with all problems."""
    found: dict[str, Definition] = {}
    problems: list[str] = []
    folder = content_root / METRICS_FOLDER
    for path in sorted(folder.glob("*/metric.yaml")):
        try:
            definition = load_definition(path.parent, shown_from=content_root)
        except DefinitionError as error:
            problems.extend(error.problems)
        else:
            found[definition.metric] = definition
    if problems:
        raise DefinitionError(problems)
    return found


def load_definition(folder: Path, *, shown_from: Path | None = None) -> Definition:
    """One metric's folder. Raises `DefinitionError`; files are named relative to `shown_from`."""
    shown = folder.relative_to(shown_from) if shown_from else folder
    yaml_file, sql_file, views_file = (folder / n for n in ("metric.yaml", "source.sql", "views.sql"))
    problems: list[str] = []
    try:
        raw = yaml.load(yaml_file.read_text(), Loader=_UniqueKeys)  # noqa: S506 (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise DefinitionError([f"{shown}/metric.yaml:{line}: {error.problem or 'not YAML'}"]) from None
    if not isinstance(raw, dict):
        raise DefinitionError([f"{shown}/metric.yaml: is not a mapping; begin with `metric: {folder.name}`"])
    for reserved in ("source_sql", "views_sql"):
        if reserved in raw:
            problems.append(f"{shown}/metric.yaml: {reserved} belongs into a file beside it, {reserved[:-4]}.sql")
    text = ""
    if "documents" in raw:
        if sql_file.exists():
            problems.append(f"{shown}/source.sql: is not used beside `documents`; remove one of them")
    elif not sql_file.is_file():
        problems.append(f"{shown}/source.sql: is missing; write one SELECT that returns the rows of facts")
        text = "SELECT 1"  # so that the rest is still checked
    else:
        text = sql_file.read_text().strip().removesuffix(";")
        problems.extend(f"{shown}/source.sql: {p}" for p in source_problems(text))
    if raw.get("metric", folder.name) != folder.name:
        problems.append(f"{shown}/metric.yaml: metric: is {raw['metric']!r} but its folder is {folder.name!r}")
    try:
        views = views_file.read_text() if views_file.is_file() else None
        definition = _ADAPTER.validate_python({**raw, "source_sql": text, "views_sql": views})
    except ValidationError as error:
        problems.extend(f"{shown}/metric.yaml: {_say(e)}" for e in error.errors(include_url=False))
    if problems:
        raise DefinitionError(problems)
    return definition


def source_problems(text: str) -> list[str]:
    """What keeps `text` from being a source: it must be one plain SELECT that can stand in a FROM clause."""
    try:
        statements = [s for s in sqlglot.parse(text, dialect="postgres") if s is not None]
    except sqlglot.errors.SqlglotError as error:
        return [f"is not SQL: {str(error).splitlines()[0]}"]
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        return ["must be exactly one SELECT"]
    query = statements[0]
    problems = []
    if any(query.find(kind) for kind in (exp.Insert, exp.Update, exp.Delete, exp.Into, exp.Lock)):
        problems.append("must only read: no INSERT, UPDATE, DELETE, INTO, FOR UPDATE")
    if any(query.args.get(part) for part in ("limit", "offset", "order")):
        problems.append("must not have LIMIT, OFFSET or ORDER BY: every window is read by itself")
    if query.find(exp.Placeholder, exp.Parameter):
        problems.append("must not have parameters: the engine adds the time predicates around it")
    return problems


def _say(error: Any) -> str:
    """Pydantic's report in a reader's words."""
    where = _place(error["loc"])
    kind, given = error["type"], error["input"]
    if kind == "union_tag_invalid":
        agg = str(given.get("agg")) if isinstance(given, dict) else str(given)
        if agg in _NOT_MERGEABLE or agg.startswith(("p5", "p9", "quantile")):
            what = (
                f"agg {agg!r} cannot be merged into hours and days; declare a percentile, or a sum, a count and a ratio"
            )
        else:
            what = f"agg {agg!r} is unknown; write {_KINDS}"
    elif kind == "union_tag_not_found":
        what = f"agg is missing; write {_KINDS}"
    elif kind in ("missing", "missing_argument"):
        what = "is missing"
    elif kind in ("unexpected_keyword_argument", "extra_forbidden"):
        key = str(error["loc"][-1])
        where = where.removesuffix(key).removesuffix(".")
        what = f"{key!r} is not a known key" + ("; in { } a text with a comma needs quotes" if given is None else "")
    elif kind == "string_pattern_mismatch":
        what = f"{given!r} is not an identifier: lower-case letters, digits and _, beginning with a letter, up to 48"
    else:
        what = str(error["msg"]).removeprefix("Value error, ")
    return f"{where}: {what}" if where else what


def _place(loc: tuple[int | str, ...]) -> str:
    """Pydantic's path without the names of the union members that it tried."""
    parts = [str(part) for part in loc if part != "[key]"]
    if parts[:1] == ["measures"]:
        del parts[2:3]
        if parts[2:3] == ["where"] and parts[4:5] and parts[4] in ("value", "list", "comparison"):
            del parts[4]
    return ".".join(parts)
