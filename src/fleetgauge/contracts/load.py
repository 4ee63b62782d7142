"""From files to contracts, and the rules every event contract keeps."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetgauge.contracts import mapping, types
from fleetgauge.contracts.subset import ID_PATTERN, Choice, ContractError, Documents, Node, Object, Scalar
from fleetgauge.errors import Terminal

IDENTITY = ("device.id", "event.id")
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
        strict = []
        fast = []
        words: dict[type, types.Words] = {}
        located: set[type] = set()
        for contract in self.contracts:
            strict.append(types.event_type(contract.kind, contract.node, reserved))
            node, left = types.without_words(contract.node)
            fast.append(types.event_type(contract.kind, node, reserved, left.paths))
            words[fast[-1]] = left
            if contract.located:
                located |= {strict[-1], fast[-1]}
        self.strict = types.decoder(strict)
        """Bytes → Struct, every rule checked.

        Raises `msgspec.DecodeError` (its subclass `ValidationError` for a broken contract), `UnicodeDecodeError`,
        `RecursionError`.
        """
        self.fast = types.decoder(fast)
        """As `strict`, but the characters of `words` are left to the caller."""
        self.words: Mapping[type, types.Words] = words
        """For each type of `fast`: what it did not check. The identity is always among it."""
        self.located = frozenset(located)
        """The types, of `fast` and of `strict`, that may have a position: `location.lat` and `location.lng`."""

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
    documents = Documents(directory)
    found: dict[str, Contract] = {}
    problems: list[str] = []
    for file in files:
        try:
            contract = contract_of(file, documents.node(file), documents.get(file).get("examples", ()))
            found[contract.kind] = contract
        except ContractError as error:
            problems += error.problems
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
    assert isinstance(version, Scalar)
    identified = all(_is_id(node, *path.split(".")) for path in IDENTITY)
    return Contract(kind, version.constraints["maximum"], node, identified, tuple(examples))


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
    for key in path.split("."):
        if not isinstance(node, Object) or key not in node.properties:
            return None
        node = node.properties[key]
    return node


def _is_number(node: Node | None) -> bool:
    return isinstance(node, Scalar) and node.type == "number"
