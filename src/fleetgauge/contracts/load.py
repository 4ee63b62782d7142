"""From files to contracts, and the rules every event contract keeps."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from fleetgauge.contracts import mapping, types
from fleetgauge.contracts.subset import (
    ID_PATTERN,
    Array,
    Choice,
    ContractError,
    Node,
    Note,
    Object,
    Scalar,
    SchemaFiles,
)
from fleetgauge.errors import Terminal

IDENTITY = ("device.id", "event.id")
KEPT = ("kind", "version", "timestamp", *IDENTITY)
"""What no event can be without as long as it is stored."""
MAX_DEPTH = 18
"""Objects within objects, the event included; the limit of Elasticsearch is 20 for a field."""
MAX_ID = 200
"""Longest `device.id` and `event.id`, in characters; Elasticsearch allows 512 bytes for both together."""


@dataclass(frozen=True)
class Contract:
    """One event kind. `version` is the newest version that it accepts; `identified` says that events carry their id."""

    kind: str
    version: int
    node: Object
    identified: bool
    examples: tuple[Any, ...] = ()
    """Whole events, from the annotation `examples`."""

    @property
    def subjects(self) -> Mapping[str, str]:
        """Paths of the fields that hold ids of persons, and of whom: dotted, `[]` after a list."""
        return {path: note.subject for path, note in notes("", self.node) if note.subject}

    @property
    def short_lived(self) -> Mapping[str, int]:
        """Paths of the fields that go before the document does, and after how many days."""
        return {path: note.kept_days for path, note in notes("", self.node) if note.kept_days is not None}

    @property
    def twice(self) -> frozenset[str]:
        """Paths whose value the stored document holds a second time: in its id, `@timestamp` or `geo.location`."""
        paths = {"timestamp"}
        if self.identified:
            paths.add("event.id")
        if self.located:
            paths |= {"location.lat", "location.lng"}
        return frozenset(paths)

    @property
    def located(self) -> bool:
        """Whether `location.lat` and `location.lng` exist as numbers."""
        return all(_is_number(_find(self.node, f"location.{axis}")) for axis in ("lat", "lng"))

    @property
    def surely_located(self) -> bool:
        """Whether a `location` always has both of them, within the bounds of the globe."""
        location = self.node.properties.get("location")
        return (
            self.located
            and isinstance(location, Object)
            and {"lat", "lng"} <= location.required
            and all(_is_within(location.properties[axis], limit) for axis, limit in (("lat", 90), ("lng", 180)))
        )


class ContractSet:
    """The contracts of one consumer, compiled together. Immutable, safe to share between threads."""

    def __init__(self, contracts: Iterable[Contract], reserved: Iterable[str] = ()) -> None:
        """`reserved`: dotted paths a payload must not hold. Raises `Terminal` on contracts that cannot be mixed."""
        self.contracts = tuple(contracts)
        if not self.contracts:
            raise Terminal("a consumer without contracts accepts nothing; name at least one")
        if len({contract.identified for contract in self.contracts}) > 1:
            without = ", ".join(contract.kind for contract in self.contracts if not contract.identified)
            raise Terminal(
                f"contract {without} lacks a safe device.id and event.id while others of the consumer have them; "
                "give it both or a consumer of its own"
            )
        self.identified = self.contracts[0].identified
        """Whether events carry `device.id` and `event.id` that are safe as a document id."""
        self.versions: Mapping[str, int] = {contract.kind: contract.version for contract in self.contracts}
        reserved = tuple(reserved)
        strict, fast, closed = [], [], []
        words: dict[type, types.Words] = {}
        self.kinds: dict[type, Contract] = {}
        """The contract of each type that a decoder returns."""
        for contract in self.contracts:
            strict.append(types.event_type(contract.kind, contract.node, reserved))
            node, left = types.without_words(contract.node)
            fast.append(types.event_type(contract.kind, node, reserved, left.paths))
            closed.append(types.event_type(contract.kind, node, (), left.paths, closed=True))
            words |= {fast[-1]: left, closed[-1]: left}
            self.kinds |= dict.fromkeys((strict[-1], fast[-1], closed[-1]), contract)
        self.strict = types.decoder(strict)
        """Bytes → Struct, every rule checked.

        Raises `msgspec.DecodeError` (its subclass `ValidationError` for a broken contract), `UnicodeDecodeError`,
        `RecursionError`.
        """
        self.fast = types.decoder(fast)
        """As `strict`, but the characters of `words` are left to the caller."""
        self.closed = types.decoder(closed)
        """As `fast`, but what holds a member that no contract names is refused too: what it accepts has no odd name."""
        self.words: Mapping[type, types.Words] = words
        """For each type of `fast` and `closed`: what it did not check. The identity is always among it."""
        self.located = frozenset(kind for kind, contract in self.kinds.items() if contract.located)
        """The types that may have a position: `location.lat` and `location.lng`."""

    @property
    def short_lived(self) -> dict[str, timedelta]:
        """The fields that go before their documents do, with how long they are kept: of kinds that differ, shortest."""
        found: dict[str, timedelta] = {}
        for contract in self.contracts:
            for path, kept in contract.short_lived.items():
                found[path] = min(timedelta(days=kept), found.get(path, timedelta.max))
        return found

    def mapping(self, extra: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """The Elasticsearch mapping, with the fields that the pipeline adds. Raises `Terminal` on a conflict."""
        return mapping.mapping(self.contracts, extra)


def load(directory: Path) -> dict[str, Contract]:
    """All contracts of a folder by kind; `common.json` holds shared definitions only. Raises `ContractError`."""
    files = sorted(path.name for path in directory.glob("*.json") if path.name != "common.json")
    if not files:
        raise ContractError(
            [f"contract folder {directory} holds none; set `content` to the folder that holds schemas/"]
        )
    schemas = SchemaFiles(directory)
    found: dict[str, Contract] = {}
    problems: list[str] = []
    for file in files:
        try:
            contract = contract_of(file, schemas.node(file), schemas.get(file).get("examples", ()))
            found[contract.kind] = contract
        except ContractError as error:
            problems += error.problems
        except RecursionError:
            problems.append(f"contract {file}: is nested too deep to be read; {MAX_DEPTH} levels are enough for events")
    if problems:
        raise ContractError(problems)
    return found


def contract_of(file: str, node: Object, examples: Iterable[Any] = ()) -> Contract:
    """The contract of a tree; its file is `<kind>.json`. Raises `ContractError` with all rules of events it breaks."""
    kind = file.removesuffix(".json")
    problems = []
    if node.properties.get("kind") != Choice((kind,)):
        problems.append(f"contract {file} at kind: must be the constant {kind!r}, the name of the file")
    version = node.properties.get("version")
    if not isinstance(version, Scalar) or version.type != "integer" or "maximum" not in version.constraints:
        problems.append(f"contract {file} at version: must be an integer with a maximum, the newest version")
    timestamp = node.properties.get("timestamp")
    if not isinstance(timestamp, Scalar) or not timestamp.instant:
        problems.append(f"contract {file} at timestamp: must be an instant (common.json#/$defs/instant)")
    missing = {"kind", "version", "timestamp"} - node.required
    if missing:
        problems.append(f"contract {file}: {', '.join(sorted(missing))} must be required")
    if problems:
        raise ContractError(problems)
    if not isinstance(version, Scalar):
        raise ContractError([f"contract {file} at version: must be a plain value"])
    identified = all(_is_id(node, *path.split(".")) for path in IDENTITY)
    contract = Contract(kind, version.constraints["maximum"], node, identified, tuple(examples))
    if problems := list(_unusable(contract)):
        raise ContractError(f"contract {file}{problem}" for problem in problems)
    return contract


def notes(at: str, node: Node) -> Iterator[tuple[str, Note]]:
    """Each field below a node, by its path, with what the contract says of it."""
    match node:
        case Object(properties):
            for key, child in properties.items():
                path = f"{at}.{key}" if at else key
                yield path, child.note
                yield from notes(path, child)
        case Array(items):
            yield f"{at}[]", items.note
            yield from notes(f"{at}[]", items)


def _unusable(contract: Contract) -> Iterator[str]:
    """Why events of it could not be decoded or stored, although it keeps all rules of the subset."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", contract.kind):
        yield ": its name must consist of letters, digits, _ and -"
    found = list(_odd("", contract.node, 1))
    yield from found
    for path in contract.subjects:
        if not _holds_ids(_find(contract.node, path)):
            yield f" at {path}: subject says whose id it is, and it is no string and no integer; move it to one that is"
        elif path in IDENTITY:
            yield f" at {path}: an event is stored under it, so it is no id of a person; give the person a field"
    for path in contract.short_lived:
        if "[]" in path:
            yield f" at {path}: kept_days is about a whole field; say it of the list"
        elif any(path == one or one.startswith(f"{path}.") for one in KEPT):
            yield f" at {path}: every event is found by it, so it lasts as long; take kept_days away"
    if not found:
        try:
            ContractSet([contract]).mapping({})
        except Terminal as error:
            yield f": {error}"
        except (TypeError, ValueError, OverflowError) as error:
            yield f": cannot be made into a decoder: {error}; correct or leave out that rule"


def _odd(at: str, node: Node, depth: int) -> Iterator[str]:
    where = f" at {at}" if at else ""
    match node:
        case Object(properties) if depth > MAX_DEPTH:
            yield f"{where}: objects are nested deeper than {MAX_DEPTH}, which Elasticsearch does not store"
        case Object(properties):
            for key, child in properties.items():
                if not re.fullmatch(r"[\w@-]{1,200}", key):
                    yield f"{where}: property {key!a} is no name of a field; use letters, digits, _, - and @"
                else:
                    yield from _odd(f"{at}.{key}" if at else key, child, depth + 1)
        case Array(items, constraints):
            yield from _odd_values(f"{where}", constraints.values())
            yield from _odd(f"{at}[]", items, depth)
        case Choice(values):
            yield from _odd_values(where, values)
        case Scalar(_, constraints):
            yield from _odd_values(where, constraints.values())


def _odd_values(where: str, values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str) and not value.isascii() and value.encode("utf-8", "replace").decode() != value:
            yield f"{where}: {value!a} holds half a surrogate pair, which no event can hold"
        elif isinstance(value, float) and not math.isfinite(value):
            yield f"{where}: {value} is no number of JSON; write a finite one"
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            yield f"{where}: {value} has more than 64 bits; write a smaller number"


def _is_id(node: Object, parent: str, name: str) -> bool:
    holder = node.properties.get(parent)
    if parent not in node.required or not isinstance(holder, Object) or name not in holder.required:
        return False
    field = holder.properties[name]
    return (
        isinstance(field, Scalar)
        and field.type == "string"
        and field.constraints.get("pattern") == ID_PATTERN
        and field.constraints.get("maxLength", MAX_ID + 1) <= MAX_ID
    )


def _find(node: Node, path: str) -> Node | None:
    for step in path.split("."):
        key = step.rstrip("[]")
        if not isinstance(node, Object) or key not in node.properties:
            return None
        node = node.properties[key]
        for _ in range(step.count("[]")):
            if not isinstance(node, Array):
                return None
            node = node.items
    return node


def _holds_ids(node: Node | None) -> bool:
    return isinstance(node, Scalar) and node.type in ("string", "integer") and not node.instant


def _is_within(node: Node, limit: int) -> bool:
    rules = node.constraints if isinstance(node, Scalar) else {}
    low = rules.get("minimum", rules.get("exclusiveMinimum", -limit - 1))
    high = rules.get("maximum", rules.get("exclusiveMaximum", limit + 1))
    return bool(-limit <= low and high <= limit)


def _is_number(node: Node | None) -> bool:
    return isinstance(node, Scalar) and node.type == "number"
