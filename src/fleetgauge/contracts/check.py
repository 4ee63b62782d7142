"""All that `fleetgauge lint` says about contracts."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from fleetgauge.contracts import released
from fleetgauge.contracts.compatible import problems
from fleetgauge.contracts.load import Contract, ContractSet, load
from fleetgauge.contracts.subset import ContractError

_TYPES = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "null",
}


def check(content: Path, reserved: Iterable[str] = ()) -> tuple[dict[str, Contract], list[str]]:
    """The contracts that can be read (none if one cannot), and one sentence for each problem.

    `reserved`: dotted paths that the pipeline writes; an example must not hold them either.
    """
    try:
        contracts = load(content / "schemas" / "events")
    except ContractError as error:
        return {}, list(error.problems)
    found = [problem for contract in contracts.values() for problem in _examples(contract, reserved)]
    try:
        found += _released(released.read(content), contracts)
    except ContractError as error:
        found += error.problems
    return contracts, found


def unreleased(content: Path, contracts: Mapping[str, Contract]) -> list[str]:
    """Kinds that differ from their last release, or have none. Raises `ContractError`."""
    known = released.read(content)
    return [
        kind
        for kind, contract in contracts.items()
        if kind not in known or released.schema_of(known[kind].node) != released.schema_of(contract.node)
    ]


def _examples(contract: Contract, reserved: Iterable[str]) -> list[str]:
    where = f"contract {contract.kind}.json at examples"
    if not contract.examples:
        return [f"{where}: there is none; add a whole valid event"]
    strict = ContractSet([contract], reserved).strict
    found = []
    for number, example in enumerate(contract.examples):
        try:
            strict.decode(msgspec.json.encode(example))
        except msgspec.DecodeError as error:
            said = _plain(str(error))
            found.append(f"{where}[{number}]: breaks its own contract: {said}; correct the example or the contract")
    return found


def _plain(said: str) -> str:
    """A decoder's words without the names of Python's types."""
    return re.sub(r"`(\w+)( \| null)?`", lambda match: _TYPES.get(match[1], f"`{match[1]}`"), said)


def _released(known: Mapping[str, Contract], contracts: Mapping[str, Contract]) -> list[str]:
    found = []
    for kind, old in known.items():
        if kind in contracts:
            found += problems(old, contracts[kind])
        else:
            found.append(
                f"contract {kind}.json: was released and is gone, so a replay would dead-letter its events; restore "
                f"it, or remove it from {released.FILE} once no topic holds any"
            )
    return found
