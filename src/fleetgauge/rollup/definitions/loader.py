"""Read `sql/metrics/<metric>/` folders. Touches files only, so that a DAG file may call it while it is parsed."""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from fleetgauge.errors import Terminal
from fleetgauge.rollup.definitions import places, source_sql
from fleetgauge.rollup.definitions.definition import Definition, Misfit
from fleetgauge.rollup.definitions.measures import MEASURES, Comparison

METRICS_FOLDER = Path("sql") / "metrics"

_ADAPTER: TypeAdapter[Definition] = TypeAdapter(Definition)
_NOT_MERGEABLE = {"avg", "average", "mean", "median", "stddev", "variance", "mode"}
_KINDS = ", ".join(MEASURES)
_IN_FILES = {"source_sql", "views_sql"}


class DefinitionError(Terminal):
    """One or more definitions are not valid; `problems` has one line for each, beginning with file and line."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("definitions are not valid; correct these:\n" + "\n".join(f"  {p}" for p in problems))


def folders(content_root: Path) -> list[str]:
    """Metrics that have a folder, whether or not its definition can be read. Reads names only."""
    return sorted(path.name for path in (content_root / METRICS_FOLDER).glob("*") if path.is_dir())


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
    yaml_file = f"{shown}/metric.yaml"
    try:
        document = places.read((folder / "metric.yaml").read_text(encoding="utf-8"))
    except places.NotYaml as error:
        raise DefinitionError([f"{yaml_file}:{error.line}: {error}; correct it"]) from None
    except UnicodeDecodeError:
        raise DefinitionError([f"{yaml_file}:1: is not UTF-8; save it as such"]) from None
    raw = document.value
    if not isinstance(raw, dict):
        raise DefinitionError([f"{yaml_file}:1: is not a mapping; begin with `metric: {folder.name}`"])
    told = [(line, f"key {key!r} stands here twice; remove one") for line, key in document.twice()]
    told += [
        (document.line([key]), f"{key} belongs into a file beside it, {key[:-4]}.sql")
        for key in sorted(_IN_FILES & raw.keys())
    ]
    if raw.get("metric", folder.name) != folder.name:
        said = f"metric: is {raw['metric']!r} but its folder is {folder.name!r}; rename one"
        told.append((document.line(["metric"]), said))
    text, problems = _source(folder / "source.sql", f"{shown}/source.sql", documents="documents" in raw)
    views_file = folder / "views.sql"
    views = views_file.read_text(encoding="utf-8") if views_file.is_file() else None
    definition = None
    try:
        definition = _ADAPTER.validate_python({**raw, "source_sql": text, "views_sql": views})
    except ValidationError as error:
        found = [told_of for one in error.errors(include_url=False) for told_of in _tell(one)]
        told += [(document.line(path), said) for path, said in found]
    problems = [f"{yaml_file}:{line}: {said}" for line, said in sorted(told)] + problems
    if problems or definition is None:
        raise DefinitionError(problems)
    return definition


def placed(folder: Path, problems: Iterable[str], *, shown_from: Path) -> list[str]:
    """`problems` of a metric that loads, each beginning with the path of a key, with file and line before it."""
    file = folder / "metric.yaml"
    document = places.read(file.read_text(encoding="utf-8"))
    return [
        f"{file.relative_to(shown_from)}:{document.line(problem.split(': ')[0].split('.'))}: {problem}"
        for problem in problems
    ]


def _source(file: Path, shown: str, *, documents: bool) -> tuple[str, list[str]]:
    """The text of source.sql, and what is wrong with it; a text that stands in for it lets the rest be checked."""
    if documents:
        unused = [f"{shown}:1: is not used beside `documents`; remove one of them"] if file.exists() else []
        return "", unused
    if not file.is_file():
        return "SELECT 1", [f"{shown}:1: is missing; write one SELECT that returns the rows of facts"]
    text = file.read_text(encoding="utf-8")
    found = [f"{shown}:{line}: {said}" for line, said in source_sql.problems(text)]
    return text.strip().removesuffix(";") or "SELECT 1", found


def _tell(error: Any) -> Iterator[tuple[tuple[int | str, ...], str]]:
    """Pydantic's report in a reader's words: the path of the key, and path and words as they are shown."""
    loc = error["loc"]
    misfit = error.get("ctx", {}).get("error")
    if isinstance(misfit, Misfit):
        for path, said in misfit.problems:
            where = _place((*loc, *path))
            yield (*loc, *path), f"{where}: {said}" if where else said
        return
    where, what = _place(loc), _say(error)
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        where = _place(loc[:-1])
    yield loc, f"{where}: {what}" if where else what


def _say(error: Any) -> str:
    kind, given = error["type"], error["input"]
    if kind == "union_tag_invalid":
        agg = str(given.get("agg")) if isinstance(given, dict) else str(given)
        if agg in _NOT_MERGEABLE or agg.startswith(("p5", "p9", "quantile")):
            return (
                f"agg {agg!r} cannot be merged into hours and days; declare a percentile, or a sum, a count and a ratio"
            )
        return f"agg {agg!r} is unknown{_nearest(agg, MEASURES)}; write {_KINDS}"
    if kind == "union_tag_not_found":
        return f"agg is missing; write {_KINDS}"
    if kind in ("missing", "missing_argument"):
        return "is missing; add it"
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        key = str(error["loc"][-1])
        near = _nearest(key, _known_keys(error["loc"][:-1]))
        return f"{key!r} is not a known key{near}" + (
            "; in { } a text with a comma needs quotes" if given is None else "" if near else "; remove it"
        )
    if kind == "string_pattern_mismatch":
        return f"{given!r} is not an identifier: lower-case letters, digits and _, beginning with a letter, up to 48"
    return str(error["msg"]).removeprefix("Value error, ")


def _nearest(word: str, known: Any) -> str:
    found = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def _known_keys(loc: tuple[int | str, ...]) -> set[str]:
    """The keys that may stand in the mapping at `loc`."""
    if "comparison" in loc:
        owner: type = Comparison
    elif loc[:1] == ("measures",):
        owner = MEASURES.get(str(loc[2]) if len(loc) > 2 else "", Comparison)
    else:
        owner = (_part(get_type_hints(Definition).get(str(loc[0]))) if loc else None) or Definition
    return {one.name for one in fields(owner)} - _IN_FILES


def _part(hint: Any) -> type | None:
    """The dataclass within a type such as `dict[str, Dimension]`."""
    if isinstance(hint, type) and is_dataclass(hint):
        return hint
    return next((found for one in get_args(hint) if (found := _part(one))), None)


def _place(loc: tuple[int | str, ...]) -> str:
    """Pydantic's path without the names of the union members that it tried."""
    parts = [str(part) for part in loc if part != "[key]"]
    if parts[:1] == ["measures"]:
        if parts[2:3] and parts[2] in MEASURES:
            del parts[2]
        if parts[2:3] == ["where"] and parts[4:5] and parts[4] in ("value", "list", "comparison"):
            del parts[4]
    return ".".join(parts)
