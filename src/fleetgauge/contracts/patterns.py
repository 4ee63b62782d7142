"""Whether a pattern can be matched in bounded time: Python's engine tries every way in which a text can fit.

Two ways through one loop double the tries with each character of a text that does not fit in the end, so that forty
characters take hours. A pattern like that is refused, and so is one whose repetitions take too long at the longest text
that `maxLength` lets through (lengths are checked first). Pure; called while contracts are read.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product

LONGEST = 1_000_000
"""About the largest text that a record can hold, where no `maxLength` bounds it."""
_TRIES = 10_000_000
"""More would take the engine longer than some tenths of a second."""
_EXPANDED = 64
"""Fixed counts up to this size are written out; any other count is taken as `*` or `+`."""
_POSITIONS = 300
"""More are not looked at."""
_OTHER = -1
"""Stands for every character beyond ASCII."""
_ALL = frozenset(range(128)) | {_OTHER}

Characters = frozenset[int]


class TooComplex(ValueError):
    """Says why, and what to do."""


@dataclass
class _Part:
    """Of a pattern: its characters by position, and which position can follow which, in how many ways."""

    first: list[int] = field(default_factory=list)
    last: list[int] = field(default_factory=list)
    empty: bool = True
    """Whether it fits no character at all."""


@dataclass
class _Graph:
    positions: list[Characters] = field(default_factory=list)
    follow: Counter[tuple[int, int]] = field(default_factory=Counter)
    loops: list[Characters] = field(default_factory=list)
    """The characters of each repetition without a small limit."""

    def character(self, characters: Characters) -> _Part:
        """One position more."""
        self.positions.append(characters)
        position = len(self.positions) - 1
        return _Part([position], [position], empty=False)

    def join(self, one: _Part, other: _Part) -> _Part:
        """One after the other."""
        self._link(one.last, other.first)
        return _Part(
            one.first + (other.first if one.empty else []),
            other.last + (one.last if other.empty else []),
            one.empty and other.empty,
        )

    def loop(self, part: _Part, positions: Iterable[int]) -> None:
        """Any number of times."""
        self._link(part.last, part.first)
        self.loops.append(frozenset().union(*(self.positions[position] for position in positions)))

    def _link(self, before: Iterable[int], after: Iterable[int]) -> None:
        self.follow.update(product(before, after))

    def doubled(self) -> bool:
        """Whether a text can run through a loop in two ways."""
        after: dict[int, list[int]] = {}
        for one, other in self.follow:
            after.setdefault(one, []).append(other)
        edges = {
            (p, q): [
                (a, b)
                for a in after.get(p, [])
                for b in after.get(q, [])
                if a == b or self.positions[a] & self.positions[b]
            ]
            for p, q in product(range(len(self.positions)), repeat=2)
        }
        part_of = _components(edges)
        same = {part_of[position, position] for position in range(len(self.positions))}
        if any(p != q and component in same for (p, q), component in part_of.items()):
            return True
        twice = (edge for edge, ways in self.follow.items() if ways > 1)
        return any(part_of[p, p] == part_of[q, q] for p, q in twice)


def check(pattern: str, longest: int | None) -> None:
    """Raises `TooComplex` where a text of at most `longest` characters could take too long. `pattern` compiles."""
    graph = _Graph()
    parser = _Parser(pattern, graph)
    parser.alternatives()
    if len(graph.positions) > _POSITIONS:
        raise TooComplex(f"has more than {_POSITIONS} characters; say less")
    if graph.doubled():
        raise TooComplex("fits some texts in so many ways that it could stall a consumer; write each repetition once")
    shared = Counter(character for characters in graph.loops for character in characters)
    tries = max(shared.values(), default=0) + (0 if parser.anchored else 1)
    limit = LONGEST if longest is None else longest
    if tries > 1 and limit**tries / math.factorial(tries) > _TRIES:
        told = "has no maxLength" if longest is None else f"may be {longest} characters long"
        cure = "" if parser.anchored else ", or begin with ^"
        raise TooComplex(f"could take seconds for one value, since the text {told}; give a smaller maxLength{cure}")


class _Parser:
    """Reads what is left of a pattern in which only punctuation is escaped."""

    def __init__(self, pattern: str, graph: _Graph) -> None:
        self._text = pattern
        self._at = 0
        self._graph = graph
        self.anchored = pattern.startswith("^")

    def alternatives(self, *, inner: bool = False) -> _Part:
        """Up to the end, or the closing bracket."""
        found = self._sequence()
        while self._next("|"):
            self.anchored &= inner
            other = self._sequence()
            found = _Part(found.first + other.first, found.last + other.last, found.empty or other.empty)
        return found

    def _sequence(self) -> _Part:
        found = _Part()
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            found = self._graph.join(found, self._repeated())
        return found

    def _repeated(self) -> _Part:
        begin, before = self._at, len(self._graph.positions)
        part = self._atom()
        least, most = self._count()
        size = len(self._graph.positions) - before
        if most == 1:
            return _Part(part.first, part.last, part.empty or least == 0)
        if least == most and size * least <= _EXPANDED:
            after, found = self._at, part if least else _Part()
            for _ in range(least - 1):
                self._at = begin
                found = self._graph.join(found, self._atom())
            self._at = after
            return found
        self._graph.loop(part, range(before, len(self._graph.positions)))
        return _Part(part.first, part.last, part.empty or least == 0)

    def _atom(self) -> _Part:
        match self._take():
            case "^" | "$":
                return _Part()
            case "(":
                if self._next("?") and not self._next(":"):
                    raise TooComplex("looks around or sets flags, which JSON Schema's dialects do not share; remove (?")
                found = self.alternatives(inner=True)
                self._take()
                return found
            case "[":
                return self._graph.character(self._class())
            case ".":
                return self._graph.character(_ALL - {10})
            case "\\":
                return self._graph.character(_one(self._take()))
            case letter:
                return self._graph.character(_one(letter))

    def _class(self) -> Characters:
        negated, found = self._next("^"), set[int]()
        first = True
        while first or self._text[self._at] != "]":
            first = False
            begin = self._member()
            if self._text[self._at] == "-" and self._text[self._at + 1] != "]":
                self._at += 1
                end = self._member()
                found |= set(range(ord(begin), min(ord(end), 127) + 1)) | _one(end)
            else:
                found |= _one(begin)
        self._at += 1
        return _ALL - found | {_OTHER} if negated else frozenset(found)

    def _member(self) -> str:
        letter = self._take()
        return self._take() if letter == "\\" else letter

    def _count(self) -> tuple[int, float]:
        counts: dict[str, tuple[int, float]] = {"*": (0, math.inf), "+": (1, math.inf), "?": (0, 1)}
        found: tuple[int, float] = (1, 1)
        letter = self._text[self._at : self._at + 1]
        if letter in counts and letter:
            self._at += 1
            found = counts[letter]
        elif letter == "{":
            inside, closed, _ = self._text[self._at + 1 :].partition("}")
            low, comma, high = inside.partition(",")
            if not closed or not all(part.isdigit() or not part for part in (low, high)) or not (low or high):
                return found  # a brace that stands for itself
            self._at += len(inside) + 2
            found = int(low or 0), (int(high) if high else math.inf) if comma else int(low)
        else:
            return found
        if self._text[self._at : self._at + 1] in ("?", "+"):  # the shortest first, or never again: fits the same texts
            self._at += 1
        return found

    def _take(self) -> str:
        self._at += 1
        return self._text[self._at - 1]

    def _next(self, letter: str) -> bool:
        found = self._text[self._at : self._at + 1] == letter
        self._at += found
        return found


def _one(letter: str) -> Characters:
    return frozenset([ord(letter) if ord(letter) < 128 else _OTHER])


def _components(edges: dict[tuple[int, int], list[tuple[int, int]]]) -> dict[tuple[int, int], int]:
    """Tarjan's strongly connected components: pairs with the same number reach each other. Without recursion."""
    number: dict[tuple[int, int], int] = {}
    low: dict[tuple[int, int], int] = {}
    found: dict[tuple[int, int], int] = {}
    stack: list[tuple[int, int]] = []
    for root in edges:
        work = [] if root in number else [(root, 0)]
        while work:
            node, at = work.pop()
            if at == 0:
                number[node] = low[node] = len(number)
                stack.append(node)
            else:
                low[node] = min(low[node], low[edges[node][at - 1]])
            for position in range(at, len(edges[node])):
                other = edges[node][position]
                if other not in number:
                    work += [(node, position + 1), (other, 0)]
                    break
                if other not in found:
                    low[node] = min(low[node], number[other])
            else:
                if low[node] == number[node]:
                    while (member := stack.pop()) != node:
                        found[member] = number[node]
                    found[node] = number[node]
    return found
