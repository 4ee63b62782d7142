"""All that `fleetgauge lint` says about consumers."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from fleetgauge.contracts import Contract, ContractSet
from fleetgauge.errors import Terminal
from fleetgauge.files import text as texts
from fleetgauge.files.text import Unreadable
from fleetgauge.ingest.consumer import Consumer, load_consumer
from fleetgauge.ingest.indices.event_indices import POSITION, SUFFIX, suffix_fields

RESERVED = (*SUFFIX, POSITION)
"""Dotted paths that the pipeline writes and a payload must not hold."""
MAX_LINES = 30


def load_consumers(content: Path) -> tuple[dict[str, Consumer], list[str]]:
    """Every consumer of `consumers/` by file name, and one sentence for each file that declares none properly."""
    found: dict[str, Consumer] = {}
    problems = []
    for path in sorted((content / "consumers").glob("*.py")):
        where = f"consumer file {path.name}"
        try:
            lines = len(texts.read(path).splitlines())
        except Unreadable as error:
            problems.append(f"{where}:{error.line}: {error}")
            continue
        if lines > MAX_LINES:
            problems.append(f"{where}: {lines} lines, more than {MAX_LINES}; it is a declaration: move code elsewhere")
        try:
            consumer = load_consumer(content, path.stem)
        except Terminal as error:
            said = str(error).removeprefix(f"consumer file {path}")
            problems.append(f"{where}{said}" if said.startswith(":") else f"{where}: {said.strip()}")
            continue
        if consumer.name.replace("-", "_") != path.stem:
            problems.append(f"{where}: declares {consumer.name!r}; give file and consumer the same name")
        found[path.name] = consumer
    return found, problems


def located(problems: Iterable[str]) -> list[str]:
    """Problems of `check` with file and line in front, as `lint` shows them."""
    return [re.sub(r"^consumer file ([^\s:]+?\.py)(?::(\d+))?: ", _location, problem) for problem in problems]


def _location(match: re.Match[str]) -> str:
    return f"consumers/{match[1]}:{match[2] or 1}: "


def named_or_all(content: Path, names: Collection[str]) -> tuple[list[Consumer], list[str]]:
    """The named consumers; without names all that are declared, and one sentence for each file that declares none.

    Raises `Terminal` for a name that is not declared.
    """
    if names:
        return [load_consumer(content, name) for name in names], []
    consumers, problems = load_consumers(content)
    return list(consumers.values()), problems


def check(content: Path, contracts: Mapping[str, Contract]) -> tuple[dict[str, Consumer], list[str]]:
    """The consumers that can be read, by file name, and one sentence for each problem.

    `contracts`: all there are; empty if they cannot be read, and then only what needs none is looked at.
    """
    consumers, problems = load_consumers(content)
    if contracts:
        for file, consumer in consumers.items():
            problems += _contracts(file, consumer, contracts)
    for (file, a), (other, b) in combinations(consumers.items(), 2):
        if a.group == b.group:
            problems.append(f"consumer file {file}: consumer group {a.group!r} is used by {other} too; rename one")
            continue
        if replace(a, name=b.name) == b:
            continue  # another group that reads the same into the same documents: a replay beside the running one
        if shared := {a.topic, a.dead_letter_topic} & {b.topic, b.dead_letter_topic}:
            problems.append(
                f"consumer file {file}: topic {min(shared)!r} is used by {other} too, so that each would dead-letter "
                "what the other accepts; give each its own, or make them alike but for the name"
            )
        if f"{a.index}-".startswith(f"{b.index}-") or f"{b.index}-".startswith(f"{a.index}-"):
            problems.append(
                f"consumer file {file}: index {a.index!r} overlaps with {b.index!r} of {other}, so that the template "
                "of one would apply to the indices of the other; rename one"
            )
    return consumers, problems


def _contracts(file: str, consumer: Consumer, contracts: Mapping[str, Contract]) -> list[str]:
    where = f"consumer file {file}"
    missing = [kind for kind in consumer.contracts if kind not in contracts]
    if missing:
        return [f"{where}: names contract {', '.join(missing)}, which schemas/events does not hold; add or remove it"]
    try:
        mixed = ContractSet((contracts[kind] for kind in consumer.contracts), RESERVED)
        mixed.mapping(suffix_fields(bool(mixed.located)))
    except Terminal as error:
        return [f"{where}: {error}"]
    return []
