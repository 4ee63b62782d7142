"""The last released form of each contract: `schemas/released.json`, written by `fleetgauge contracts release`.

It holds each contract as one schema of the same subset, references followed and annotations left out, so that a
difference in the file is a difference in what is accepted.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fleetgauge.contracts.compatible import problems
from fleetgauge.contracts.load import Contract, contract_of
from fleetgauge.contracts.subset import Array, Choice, ContractError, Node, Object, Scalar, SchemaFiles, tree
from fleetgauge.errors import Terminal

FILE = Path("schemas") / "released.json"


def read(content: Path) -> dict[str, Contract]:
    """The released contracts by kind; none if there is no file. Raises `ContractError`."""
    path = content / FILE
    if not path.exists():
        return {}
    schemas = SchemaFiles(path.parent).get(path.name)
    nowhere = SchemaFiles(path.parent)  # references were followed when it was written
    return {kind: contract_of(kind, tree(schema, f"{path.name}#{kind}", nowhere)) for kind, schema in schemas.items()}


def release(
    content: Path, contracts: Mapping[str, Contract], kinds: Iterable[str] = (), *, dry_run: bool = False
) -> dict[str, tuple[int | None, int]]:
    """Record contracts as released: `kinds`, or all. Returns kind → version before and now, of those that changed.

    Raises `ContractError` if one of them is not compatible with its last release, `Terminal` if a kind is unknown.
    """
    chosen = tuple(kinds) or tuple(contracts)
    unknown = [kind for kind in chosen if kind not in contracts]
    if unknown:
        raise Terminal(f"contract {', '.join(unknown)} is not in schemas/events (it has {', '.join(contracts)})")
    known = read(content)
    wrong = [problem for kind in chosen if kind in known for problem in problems(known[kind], contracts[kind])]
    if wrong:
        raise ContractError(wrong)
    done: dict[str, tuple[int | None, int]] = {}
    for kind in chosen:
        old, new = known.get(kind), contracts[kind]
        if old is None or schema_of(old.node) != schema_of(new.node):
            done[kind] = (None if old is None else old.version, new.version)
    if done and not dry_run:
        merged = {**known, **{kind: contracts[kind] for kind in done}}
        schemas = {kind: schema_of(contract.node) for kind, contract in sorted(merged.items())}
        (content / FILE).write_text(json.dumps(schemas, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return done


def schema_of(node: Node) -> dict[str, Any]:
    """The tree as a schema of the subset, in one canonical form."""
    match node:
        case Choice(values):
            return {"enum": sorted(values)}
        case Object(properties, required):
            members = {key: schema_of(child) for key, child in sorted(properties.items())}
            return {"type": "object", "required": sorted(required), "properties": members}
        case Array(items, constraints):
            return {"type": "array", "items": schema_of(items), **dict(sorted(constraints.items()))}
        case Scalar(kind, constraints, instant):
            rules = dict(sorted(constraints.items()))
            if rules.get("pattern", "").endswith(r"\Z"):
                rules["pattern"] = rules["pattern"].removesuffix(r"\Z") + "$"
            return {"type": kind, **({"format": "epoch_millis"} if instant else {}), **rules}
