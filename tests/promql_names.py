"""Which series, with which labels, a PromQL expression asks for; enough of the language for our own rules."""

import re
from dataclasses import dataclass

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\s*(\{[^}]*\})?(?!\w|\s*\()")
_WORDS = frozenset({"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring", "inf", "nan"})


@dataclass(frozen=True)
class Series:
    """A series as an expression names it."""

    name: str
    labels: frozenset[str] = frozenset()
    """Those that it is matched by."""


def series_of(expression: str) -> set[Series]:
    """All of them; functions, numbers, durations and label names of groupings are none."""
    bare = _STRING.sub('""', re.sub(r"#.*", "", expression))
    bare = re.sub(r"\[[^\]]*\]", "", _GROUPING.sub(" ", bare))
    bare = re.sub(r"(?<![\w:])\d+(?:\.\d+)?(?:e[+-]?\d+)?(?:ms|[smhdwy])?(?![\w:])", " ", bare)
    found = set()
    for name, matchers in _SELECTOR.findall(bare):
        if name.lower() not in _WORDS:
            found.add(Series(name, frozenset(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))))
    return found
