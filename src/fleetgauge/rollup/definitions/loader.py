"""Read `sql/metrics/<metric>/` folders. Touches files only, so that a DAG file may call it while it is parsed."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from fleetgauge.errors import Terminal
from fleetgauge.files import strict_yaml
from fleetgauge.files import text as texts
from fleetgauge.files.plain import shown as shown_value
from fleetgauge.files.text import Unreadable
from fleetgauge.rollup.definitions import layout, source_sql, views_sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.source_rows import SOURCE_ROWS, TAKEN, takes_name, with_count
from fleetgauge.rollup.definitions.sql_words import Dialect
from fleetgauge.rollup.definitions.validation_messages import IN_FILES, OUTSIDE, messages

METRICS_FOLDER = layout.METRICS_FOLDER

_ADAPTER: TypeAdapter[Definition] = TypeAdapter(Definition)


class DefinitionError(Terminal):
    """One or more definitions are not valid; `problems` has one line for each, beginning with file and line."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("definitions are not valid; correct these:\n" + "\n".join(f"  {p}" for p in self.problems))


@dataclass(frozen=True)
class Broken:
    """A metric that cannot be read. It stops no other, and is named wherever the others are."""

    problems: tuple[str, ...]
    """One line for each, beginning with file and line."""
    source: str | None
    """What it says it reads, as far as that can be told."""

    def __str__(self) -> str:
        return "; ".join(self.problems)


@dataclass(frozen=True)
class Loaded:
    """All metrics of a content folder, both kinds by name."""

    valid: Mapping[str, Definition]
    broken: Mapping[str, Broken]

    @property
    def problems(self) -> tuple[str, ...]:
        """Those of all broken metrics."""
        return tuple(problem for _, one in sorted(self.broken.items()) for problem in one.problems)


def folders(content_root: Path) -> list[str]:
    """Metrics that have a folder, whether or not its definition can be read. Reads names only."""
    return sorted(path.name for path in (content_root / METRICS_FOLDER).glob("*") if path.is_dir())


def load_definitions(content_root: Path, distinct_key: str | None = None) -> dict[str, Definition]:
    """All metrics below `<content_root>/sql/metrics`, by name. Raises `DefinitionError` with all problems."""
    found = read_definitions(content_root, distinct_key)
    if found.broken:
        raise DefinitionError(found.problems)
    return dict(found.valid)


def read_definitions(content_root: Path, distinct_key: str | None = None) -> Loaded:
    """The valid metrics below `<content_root>/sql/metrics`, and beside them what cannot be read. Raises nothing.

    `distinct_key`: the id of the settings' key of fingerprints, a part of the version of those that need one.
    """
    valid: dict[str, Definition] = {}
    broken: dict[str, Broken] = {}
    for name, problem in layout.strays(content_root):
        broken[name] = Broken((problem,), None)
    for folder in layout.folders(content_root):
        try:
            definition = load_definition(folder, shown_from=content_root)
        except DefinitionError as error:
            broken[folder.name] = Broken(error.problems, _source_of(folder))
        else:
            valid[definition.metric] = definition.keyed(distinct_key)
    return Loaded(valid, broken)


def load_definition(folder: Path, *, shown_from: Path | None = None) -> Definition:
    """One metric's folder. Raises `DefinitionError`; files are named relative to `shown_from`."""
    shown = folder.relative_to(shown_from) if shown_from else folder
    yaml_file = f"{shown}/metric.yaml"
    try:
        document = strict_yaml.read(texts.read(folder / "metric.yaml"))
    except Unreadable as error:
        raise DefinitionError([f"{yaml_file}:{error.line}: {error}"]) from None
    raw = document.value
    if not isinstance(raw, dict):
        raise DefinitionError([f"{yaml_file}:1: is not a mapping; begin with `metric: {folder.name}`"])
    said = [(line, f"key {key!r} stands here twice; remove one") for line, key in document.twice()]
    said += [
        (document.line([key]), f"{key} belongs into a file beside it, {key[:-4]}.sql")
        for key in sorted(IN_FILES & raw.keys())
    ]
    said += [
        (document.line([key]), f"{key} comes from {where}; remove it") for key, where in OUTSIDE.items() if key in raw
    ]
    if raw.get("metric", folder.name) != folder.name:
        named = f"metric: is {shown_value(raw['metric'])} but its folder is {folder.name!r}; rename one"
        said.append((document.line(["metric"]), named))
    if takes_name(raw):
        said.append((document.line(["measures", SOURCE_ROWS]), f"measures.{SOURCE_ROWS}: {TAKEN}"))
    dialect: Dialect = "mysql" if raw.get("dialect") == "mysql" else "postgres"
    text, problems = _source(folder / "source.sql", f"{shown}/source.sql", dialect, documents="documents" in raw)
    views, wrong = _views(folder / "views.sql", f"{shown}/views.sql")
    problems += [*wrong, *layout.unread(folder, str(shown))]
    definition = None
    try:
        definition = _ADAPTER.validate_python(
            {**with_count(raw), "source_sql": text, "views_sql": views, "lines": document.lines()}
        )
    except ValidationError as error:
        found = [message for one in error.errors(include_url=False) for message in messages(one)]
        said += [(document.line(path), words) for path, words in found]
    problems = [f"{yaml_file}:{line}: {words}" for line, words in sorted(set(said))] + problems
    if problems or definition is None:
        raise DefinitionError(problems)
    return definition


def located(folder: Path, problems: Iterable[str], *, shown_from: Path) -> list[str]:
    """`problems` of a metric that loads, each beginning with the path of a key, with file and line before it."""
    file = folder / "metric.yaml"
    document = strict_yaml.read(texts.read(file))
    return [
        f"{file.relative_to(shown_from)}:{document.line(problem.split(': ')[0].split('.'))}: {problem}"
        for problem in problems
    ]


def _source(file: Path, shown: str, dialect: Dialect, *, documents: bool) -> tuple[str, list[str]]:
    """The text of source.sql, and what is wrong with it; a text that stands in for it lets the rest be checked."""
    if documents:
        unused = [f"{shown}:1: is not used beside `documents`; remove one of them"] if file.exists() else []
        return "", unused
    if not file.exists():
        return "SELECT 1", [f"{shown}:1: is missing; write one SELECT that returns the rows of facts"]
    try:
        text = texts.read(file)
    except Unreadable as error:
        return "SELECT 1", [f"{shown}:{error.line}: {error}"]
    found = list(_located(shown, source_sql.problems(text, dialect)))
    return ("SELECT 1" if found else text.rstrip().removesuffix(";")), found


def _views(file: Path, shown: str) -> tuple[str | None, list[str]]:
    if not file.exists():
        return None, []
    try:
        text = texts.read(file)
    except Unreadable as error:
        return None, [f"{shown}:{error.line}: {error}"]
    return text, list(_located(shown, views_sql.problems(text)))


def _located(shown: str, problems: Iterable[tuple[int, str]]) -> Iterator[str]:
    yield from (f"{shown}:{line}: {said}" for line, said in problems)


def _source_of(folder: Path) -> str | None:
    try:
        raw = strict_yaml.read(texts.read(folder / "metric.yaml")).value
    except Unreadable:
        return None
    source = raw.get("source") if isinstance(raw, dict) else None
    return source if isinstance(source, str) else None
