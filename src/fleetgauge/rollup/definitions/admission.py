"""Which values of a dimension have rows of their own. A value is admitted when it is first seen, while there is room;
the rest is `(other)`.

The list grows until its limit. What is in it stays until `fleetgauge dimensions expire` removes it; from then on, a
value may have rows of its own in some windows and be part of `(other)` in others, never both in one.
"""

from collections.abc import Iterable

from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.labels import OTHER


class Admission:
    """The admitted values as one transaction knows them; `new` must be stored in the same transaction."""

    def __init__(self, definition: Definition, admitted: Iterable[tuple[str, str]]) -> None:
        self._names = tuple(definition.dimensions)
        self._limits = tuple(d.limit for d in definition.dimensions.values())
        self._known: tuple[set[str], ...] = tuple(set() for _ in self._names)
        index = {name: i for i, name in enumerate(self._names)}
        for name, value in admitted:
            if name in index:
                self._known[index[name]].add(value)
        self.new: list[tuple[str, str]] = []
        self.overflowed = False
        """Whether any value became `(other)`, so that rows may have fallen together."""

    def fits(self, values: tuple[str, ...]) -> bool:
        """Whether each value has rows of its own, admitting new ones where there is room."""
        return self.resolve(values) == values and OTHER not in values

    def resolve(self, values: tuple[str, ...]) -> tuple[str, ...]:
        """The values as they are stored: themselves, or `(other)`."""
        return tuple(self._resolve(i, v) for i, v in enumerate(values))

    def _resolve(self, i: int, value: str) -> str:
        known = self._known[i]
        if value in known:
            return value
        if value == OTHER or len(known) >= self._limits[i]:
            self.overflowed = True
            return OTHER
        known.add(value)
        self.new.append((self._names[i], value))
        return value
