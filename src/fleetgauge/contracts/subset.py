"""The subset of JSON Schema 2020-12 that event contracts may use, read into a small tree.

A keyword outside the subset is refused, never ignored: a rule that nobody enforces is worse than no rule.
Two readings are narrower than the standard, because they name what producers and Elasticsearch do:
an `integer` is written without fraction or exponent (`1`, not `1.0`), and `$` in a pattern is the very end of the text.
Annotations of ours, which say nothing about which events are valid: `unit`, a UCUM code such as `m/s`, `Cel` or `%`;
`subject`, whose id a field is (`rider`); `kept_days`, after which a field is taken out of what is stored.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fleetgauge.contracts import patterns
from fleetgauge.errors import Terminal
from fleetgauge.files import json_lines
from fleetgauge.files.plain import shown
from fleetgauge.files.text import Unreadable

ANNOTATIONS = frozenset(
    {"$schema", "$comment", "title", "description", "unit", "examples", "deprecated", "subject", "kept_days"}
)
KEYWORDS: Mapping[str, frozenset[str]] = {
    "object": frozenset({"type", "required", "properties"}),
    "array": frozenset({"type", "items", "minItems", "maxItems"}),
    "string": frozenset({"type", "minLength", "maxLength", "pattern"}),
    "integer": frozenset({"type", "minimum", "maximum", "format"}),
    "number": frozenset({"type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}),
    "boolean": frozenset({"type"}),
}
ID_PATTERN = r"^[A-Za-z0-9._-]+\Z"
"""The pattern of an identifier: something that is looked up, and that needs no escaping in a document id."""
_LARGEST = 2**63
"""No rule names a greater number: it would be none of 64 bits."""
INSTANT = "epoch_millis"
"""The one `format`: an integer that is an instant, in milliseconds since the epoch."""


@dataclass(frozen=True)
class Note:
    """What a schema tells its readers; says nothing about which events are valid."""

    description: str = ""
    unit: str = ""
    """UCUM code; empty for what has none."""
    subject: str = ""
    """Whose id it is, of a field that holds ids of persons: `rider`."""
    kept_days: int | None = None
    """Days after which the field goes, while the rest of the document stays; None: with the document."""


@dataclass(frozen=True)
class Scalar:
    """A string, integer, number or boolean with its constraints."""

    type: str
    constraints: Mapping[str, Any] = field(default_factory=dict)
    instant: bool = False
    note: Note = field(default=Note(), compare=False)


@dataclass(frozen=True)
class Choice:
    """`enum`, or `const` as an enum of one: strings, or integers."""

    values: tuple[str, ...] | tuple[int, ...]
    note: Note = field(default=Note(), compare=False)


@dataclass(frozen=True)
class Array:
    """A list of one kind of value."""

    items: "Node"
    constraints: Mapping[str, Any] = field(default_factory=dict)
    note: Note = field(default=Note(), compare=False)


@dataclass(frozen=True)
class Object:
    """An open object: unknown members are allowed and kept."""

    properties: Mapping[str, "Node"]
    required: frozenset[str]
    note: Note = field(default=Note(), compare=False)


Node = Scalar | Choice | Array | Object


class ContractError(Terminal):
    """One or more contracts are not valid; `problems` has one sentence for each, with the file and the path in it."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        listed = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(
            self.problems[0] if len(self.problems) == 1 else f"contracts are not valid; correct these:\n{listed}"
        )


class SchemaFiles:
    """The JSON files of one folder, each read once, with `$ref` between them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._loaded: dict[str, dict[str, Any]] = {}

    def get(self, name: str) -> dict[str, Any]:
        """The document `name` (a file name of the folder). Raises `ContractError`."""
        if name not in self._loaded:
            path = self._directory / name
            try:
                document = json_lines.read(path).value
            except Unreadable as error:
                raise ContractError([f"contract {name}:{error.line}: {error}"]) from None
            if not isinstance(document, dict):
                raise ContractError([f"contract {name} is not a JSON object; write one schema a file"])
            self._loaded[name] = document
        return self._loaded[name]

    def node(self, name: str) -> Object:
        """The tree of the contract in file `name`. Raises `ContractError` with all problems."""
        return tree(self.get(name), name, self)

    def target(self, ref: Any, file: str, where: str) -> tuple[str, str, Any]:
        """File, name and schema that `ref`, met in `file`, leads to. Raises `ContractError`."""
        match = re.fullmatch(r"([A-Za-z0-9_.-]*)#/\$defs/([A-Za-z0-9_]+)", str(ref))
        if match is None:
            raise ContractError([f"{where}: $ref {shown(ref)} must look like common.json#/$defs/name"])
        target = match[1] or file
        try:
            return target, match[2], self.get(target)["$defs"][match[2]]
        except (KeyError, TypeError):
            raise ContractError([f"{where}: $ref {shown(ref)} names nothing; add it to $defs of {target}"]) from None


def tree(schema: Any, file: str, files: SchemaFiles) -> Object:
    """The tree of one schema of an event; `file` names it in messages. Raises `ContractError` with all problems."""
    node = _read(schema, file, "", (), files)
    if not isinstance(node, Object):
        raise ContractError([f"contract {file} describes no object; set type to object"])
    return node


def _read(schema: Any, file: str, at: str, seen: tuple[str, ...], files: SchemaFiles) -> Node:
    where = f"contract {file}{f' at {at}' if at else ''}"
    if not isinstance(schema, dict):
        raise ContractError([f"{where}: a schema must be an object"])
    keys = schema.keys() - ANNOTATIONS
    note = Note(
        str(schema.get("description", "")), str(schema.get("unit", "")), _subject(schema, where), _kept(schema, where)
    )
    if "$ref" in keys:
        _refuse(where, keys - {"$ref"}, "beside $ref")
        target, name, found = files.target(schema["$ref"], file, where)
        key = f"{target}#{name}"
        if key in seen:
            raise ContractError([f"{where}: $ref {shown(schema['$ref'])} leads back to itself; events are trees"])
        node = _read(found, target, f"$defs.{name}", (*seen, key), files)
        return replace(node, note=_over(note, node.note))
    if keys & {"const", "enum"}:
        _refuse(where, keys - {"const", "enum", "type"}, "beside const or enum")
        return Choice(_values(schema, where), note)
    kind = schema.get("type")
    if not isinstance(kind, str) or kind not in KEYWORDS:
        raise ContractError([f"{where}: type must be one of {', '.join(KEYWORDS)}, not {shown(kind)}"])
    _refuse(where, keys - (KEYWORDS[kind] | ({"$defs"} if not at else frozenset())), f"for type {kind}")
    if kind == "object":
        return _object(schema, where, note, lambda key, child: _read(child, file, _below(at, key), seen, files))
    constraints = {key: _constraint(key, schema[key], where, kind) for key in keys - {"type", "items", "format"}}
    if "pattern" in schema:
        _matched_soon(schema["pattern"], constraints.get("maxLength"), where)
    if kind == "array":
        return Array(_read(schema.get("items"), file, f"{at}[]", seen, files), constraints, note)
    for bound in ("Minimum", "Maximum"):
        if {bound.lower(), f"exclusive{bound}"} <= constraints.keys():
            raise ContractError([f"{where}: {bound.lower()} and exclusive{bound} say the same thing; remove one"])
    if schema.get("format", INSTANT) != INSTANT:
        raise ContractError([f"{where}: format {shown(schema['format'])} is not known; the one format is {INSTANT}"])
    return Scalar(kind, constraints, "format" in schema, note)


def _over(note: Note, below: Note) -> Note:
    """What stands beside a reference, and for what does not, what stands where it leads."""
    return Note(
        note.description or below.description,
        note.unit or below.unit,
        note.subject or below.subject,
        below.kept_days if note.kept_days is None else note.kept_days,
    )


def _subject(schema: Mapping[str, Any], where: str) -> str:
    found = schema.get("subject", "")
    if not isinstance(found, str) or ("subject" in schema and not re.fullmatch(r"[a-z][a-z_]{0,30}", found)):
        raise ContractError([f"{where}: subject {shown(found)} is no word such as rider; write it in lower case"])
    return found


def _kept(schema: Mapping[str, Any], where: str) -> int | None:
    found = schema.get("kept_days")
    if "kept_days" in schema and (not isinstance(found, int) or isinstance(found, bool) or not 1 <= found <= 3650):
        raise ContractError([f"{where}: kept_days {shown(found)} is no number of days from 1 to 3650; correct it"])
    return found


def _below(at: str, key: str) -> str:
    return f"{at}.{key}" if at else key


def _object(schema: Mapping[str, Any], where: str, note: Note, read: Callable[[str, Any], Node]) -> Object:
    members, required = schema.get("properties", {}), schema.get("required", [])
    if not isinstance(members, dict) or not isinstance(required, list) or not all(isinstance(x, str) for x in required):
        raise ContractError([f"{where}: properties must be an object, and required a list of names"])
    problems: list[str] = []
    properties: dict[str, Node] = {}
    for key, child in members.items():
        if not key or "." in key or key.startswith("_"):
            problems.append(
                f"{where}: property {key!r} is no name of a field; use one without dot, not beginning with _"
            )
        try:
            properties[key] = read(key, child)
        except ContractError as error:
            problems += error.problems
    unknown = set(required) - members.keys()
    if unknown:
        names = ", ".join(sorted(unknown))
        problems.append(f"{where}: required names {names}, which properties does not describe; describe or remove it")
    if problems:
        raise ContractError(problems)
    return Object(properties, frozenset(required), note)


def _refuse(where: str, keys: set[str] | frozenset[str], why: str) -> None:
    if keys:
        names = ", ".join(sorted(keys))
        raise ContractError([f"{where}: keyword {names} is outside the supported subset {why}; remove it"])


def _values(schema: Mapping[str, Any], where: str) -> tuple[Any, ...]:
    values = schema["enum"] if "enum" in schema else [schema["const"]]
    kinds = {type(value) for value in values} if isinstance(values, list) else set()
    small = all(abs(value) < _LARGEST for value in values if isinstance(value, int)) if kinds == {int} else True
    if kinds not in ({str}, {int}) or len(set(values)) != len(values) or not small:
        raise ContractError([f"{where}: enum and const hold distinct strings, or distinct integers; correct it"])
    if "type" in schema and schema["type"] != {str: "string", int: "integer"}[next(iter(kinds))]:
        raise ContractError([f"{where}: type {shown(schema['type'])} contradicts its enum or const; remove it"])
    return tuple(values)


def _constraint(keyword: str, value: Any, where: str, kind: str) -> Any:
    if keyword == "pattern":
        return _pattern(value, where)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if keyword.endswith(("Length", "Items")):
        number = number and isinstance(value, int) and 0 <= value < _LARGEST
    elif number:
        number = abs(value) < _LARGEST and (kind == "number" or isinstance(value, int))
    if not number:
        raise ContractError(
            [f"{where}: {keyword} is {shown(value)}; it must be a number: finite, and whole of integers and lengths"]
        )
    return value


def _matched_soon(pattern: str, longest: int | None, where: str) -> None:
    try:
        patterns.check(pattern, longest)
    except patterns.TooComplex as error:
        raise ContractError([f"{where}: pattern {shown(pattern)} {error}"]) from None


def _pattern(pattern: Any, where: str) -> str:
    """The pattern in Python's dialect. ECMA-262's `$` is the end; Python's also matches before a last newline."""
    if not isinstance(pattern, str) or re.search(r"\\[^.\\/()\[\]{}+*?|^$-]", pattern):
        raise ContractError(
            [f"{where}: pattern {shown(pattern)} may escape punctuation only, so that every dialect agrees on it"]
        )
    ending = str(pattern)
    if ending.endswith("$") and not ending.endswith("\\$"):
        ending = ending[:-1] + r"\Z"
    try:
        re.compile(ending)
    except (re.error, OverflowError, RecursionError) as error:
        raise ContractError(
            [f"{where}: pattern {shown(pattern)} is no regular expression: {error}; correct it"]
        ) from None
    return ending
