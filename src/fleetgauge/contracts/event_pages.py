"""The pages `docs/events/*.md`, made from the contracts by `fleetgauge contracts docs`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetgauge.contracts.load import Contract
from fleetgauge.contracts.mapping import mapping
from fleetgauge.contracts.subset import Array, Choice, Node, Note, Object

FOLDER = Path("docs") / "events"
_MADE = "<!-- made by `fleetgauge contracts docs` -->"
_BOUNDS = {"minimum": "≥ ", "exclusiveMinimum": "> ", "maximum": "≤ ", "exclusiveMaximum": "< "}


@dataclass(frozen=True)
class Reader:
    """A consumer that reads a kind of event."""

    consumer: str
    topic: str
    index: str


@dataclass(frozen=True)
class _FieldRow:
    path: str
    node: Node
    required: bool


def pages(contracts: Mapping[str, Contract], readers: Mapping[str, Sequence[Reader]]) -> dict[str, str]:
    """File name → text, for each contract and the list of them. `readers`: kind → who reads it."""
    made = {f"{kind}.md": _page(contract, readers.get(kind, ())) for kind, contract in contracts.items()}
    return {"README.md": _list(contracts, readers), **made}


def outdated(folder: Path, wanted: Mapping[str, str]) -> list[str]:
    """Names of pages that are missing, differ, or are there for a kind that is gone. Pages by hand are left alone."""
    there = {path.name: path.read_text("utf-8") for path in folder.glob("*.md")}
    gone = [name for name, text in there.items() if name not in wanted and _MADE in text]
    return sorted([*gone, *(name for name, text in wanted.items() if there.get(name) != text)])


def write(folder: Path, wanted: Mapping[str, str]) -> list[str]:
    """Renew the pages; returns the names of those that changed or went."""
    changed = outdated(folder, wanted)
    folder.mkdir(parents=True, exist_ok=True)
    for name in changed:
        if name in wanted:
            (folder / name).write_text(wanted[name], "utf-8")
        else:
            (folder / name).unlink()
    return changed


def _list(contracts: Mapping[str, Contract], readers: Mapping[str, Sequence[Reader]]) -> str:
    lines = [_MADE, "# Events", "", "| kind | version | consumer | what it is |", "| --- | --- | --- | --- |"]
    for kind, contract in contracts.items():
        by = ", ".join(f"`{reader.consumer}`" for reader in readers.get(kind, ())) or "none"
        lines.append(f"| [{kind}]({kind}.md) | {contract.version} | {by} | {_cell(contract.node.note.description)} |")
    return "\n".join([*lines, ""])


def _page(contract: Contract, readers: Sequence[Reader]) -> str:
    lines = [_MADE, f"# {contract.kind}", "", contract.node.note.description, ""]
    lines.append(f"- Contract `schemas/events/{contract.kind}.json`, versions up to {contract.version}.")
    lines += [
        f"- Read from topic `{reader.topic}` by consumer `{reader.consumer}`, "
        f"stored in `{reader.index}-YYYY.MM.DD`, alias `{reader.index}`."
        for reader in readers
    ] or ["- No consumer reads it."]
    document_id = "`<device.id>:<event.id>`" if contract.identified else "`<topic>-<partition>-<offset>`"
    lines += [
        f"- Document id: {document_id}.",
        "",
        "A field is required where the object that holds it is there.",
        "",
        "| field | type | required | allowed | unit | Elasticsearch | meaning |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    stored = mapping([contract], {})["properties"]
    for row in _rows("", contract.node):
        note = row.node.note
        lines.append(
            f"| `{row.path}` | {_type(row.node)} | {'yes' if row.required else 'no'} | {_cell(_allowed(row.node))} "
            f"| {_cell(note.unit)} | {_stored(stored, row.path)} | {_cell(_meaning(note))} |"
        )
    for example in contract.examples:
        lines += ["", "```json", json.dumps(example, indent=2, ensure_ascii=False), "```"]
    return "\n".join([*lines, ""])


def _meaning(note: Note) -> str:
    said = [note.description] if note.description else []
    if note.subject:
        said.append(f"The id of a {note.subject.replace('_', ' ')}, who can be erased.")
    if note.kept_days is not None:
        said.append(f"Kept for {note.kept_days} days.")
    return " ".join(said)


def _rows(at: str, node: Object) -> Iterator[_FieldRow]:
    for key, child in node.properties.items():
        path = f"{at}.{key}" if at else key
        yield _FieldRow(path, child, key in node.required)
        inner, below = child, path
        while isinstance(inner, Array):
            inner, below = inner.items, f"{below}[]"
        if isinstance(inner, Object):
            yield from _rows(below, inner)


def _type(node: Node) -> str:
    match node:
        case Object():
            return "object"
        case Array(items):
            return f"list of {_type(items)}"
        case Choice(values):
            return "string" if isinstance(values[0], str) else "integer"
        case _:
            return "instant" if node.instant else node.type


def _allowed(node: Node) -> str:
    match node:
        case Object():
            return ""
        case Choice(values):
            return ", ".join(f"`{value}`" for value in values)
        case Array(_, rules):
            return _range(rules.get("minItems", 0), rules.get("maxItems"), "items")
        case _:
            rules = node.constraints
    said = [f"{sign}{rules[key]}" for key, sign in _BOUNDS.items() if key in rules]
    if "minLength" in rules or "maxLength" in rules:
        said.append(_range(rules.get("minLength", 0), rules.get("maxLength"), "characters"))
    if "pattern" in rules:
        said.append(f"`{rules['pattern'].replace(chr(92) + 'Z', '$')}`")
    return ", ".join(said)


def _range(low: int, high: int | None, what: str) -> str:
    return f"{low} or more {what}" if high is None else f"{low} to {high} {what}"


def _stored(properties: Mapping[str, Any], path: str) -> str:
    level: Any = {"properties": properties}
    for key in path.replace("[]", "").split("."):
        level = level["properties"][key]
    if "type" not in level:
        return ""
    return f"`{level['type']}`" if level.get("doc_values", True) else "in `_source` only"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
