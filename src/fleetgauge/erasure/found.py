"""What a step of an erasure is, and what it says."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Found:
    """So many of something were freed of the id, or with a dry run would be."""

    store: str
    """An index, a topic, a table, a folder."""
    what: str
    """documents, dead letters, fingerprints, values, files."""
    count: int


Tell = Callable[[Found], None]
"""Takes what was done, as soon as it is durable."""


class ErasureStep(Protocol):
    """One kind of store. Idempotent, and safe to be broken off: the same again does what is left."""

    name: str

    def run(self, tell: Tell, *, dry_run: bool) -> None:
        """Blocks. Raises `Transient`, `Stop`, `Terminal`; `dry_run` changes nothing and tells what there is."""
        ...


def together(found: Iterable[Found]) -> tuple[Found, ...]:
    """Counts of the same added up, in the order in which they were first told; what is none is left out."""
    sums: dict[tuple[str, str], int] = {}
    for one in found:
        sums[one.store, one.what] = sums.get((one.store, one.what), 0) + one.count
    return tuple(Found(store, what, count) for (store, what), count in sums.items() if count)
