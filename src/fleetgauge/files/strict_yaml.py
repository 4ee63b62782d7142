"""YAML with the line of every key, and without its surprises: what YAML would silently make something else is refused.

`NO` is a country and not false, `1.10` a version and not 1.1, `010` neither 8 nor 10, `12:30` not 750. Such a value is
refused with the way to write what is meant.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import yaml

from fleetgauge.files.text import Unreadable

Path = Sequence[int | str]
"""Keys and numbers of list items, from the top of the document."""

LARGEST = 100_000
"""How many values a document may hold, those that an alias repeats counted each time."""

_WORDS = re.compile(r"(yes|no|on|off)", re.IGNORECASE)
_TRUTH = re.compile(r"(true|false)", re.IGNORECASE)
_NULL = re.compile(r"(~|null|Null|NULL|)")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)\.([0-9]*[1-9]|0)")
_MONEY = re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]+")
_NUMBERLIKE = re.compile(
    r"[-+]?(\d[\d_]*|\d[\d_]*\.[\d_]*|\.\d[\d_]*)([eE][-+]?\d+)?|[-+]?0[xXbBoO][0-9a-fA-F_]+"
    r"|[-+]?\d[\d_]*(:[0-5]?\d)+(\.\d*)?|[-+]?\.(inf|nan)",
    re.IGNORECASE,
)
_DIGITS = 400
_DEEPEST = 2_000

# What the parser says, and what it means to who wrote the file.
_SAID = (
    (r"mapping values are not allowed", "a colon stands where none may; put a text that holds ': ' in quotes"),
    (r"found character '\\t'|found a tab", "a tab stands where only blanks may; indent with blanks"),
    (r"cannot start any token", "a sign stands where a value should begin; put the text in quotes"),
    (r"could not find expected ':'", "a key has no colon; write `key: value`"),
    (r"expected <block end>", "the indentation does not fit the lines above; align it with its neighbours"),
    (r"expected ',' or '[\]}]'", "a bracket is not closed, or a comma is missing between two values; add it"),
    (r"did not find expected|expected the node content|expected alphabetic", "a value is missing or broken; write it"),
    (r"unexpected end of stream|found unexpected document separator", "a quote is not closed; close it"),
    (r"unexpected end", "the file ends in the middle of a value; complete it"),
    (r"unknown escape|escape sequence", 'a backslash in "…" begins no known escape; use single quotes'),
    (r"undefined alias", "an alias (*name) has no anchor (&name) before it; write the value out"),
    (r"duplicate anchor", "an anchor (&name) is set twice; rename one"),
    (r"but found another document", "a second document begins (---); keep one a file"),
    (r"could not determine a constructor", "a tag (!name) is not known here; remove it"),
    (r"found unhashable key|found unacceptable key", "a key is a list or a mapping; write a plain name"),
    (r"expected a mapping|expected a sequence|for merging", "<< must name a mapping; write the keys out"),
    (r"special characters are not allowed", "a control character stands here; remove it"),
)


@dataclass(frozen=True)
class Document:
    """A document's value and its nodes, which know their lines."""

    value: Any
    root: yaml.Node | None

    def line(self, path: Path) -> int:
        """The line of the key, or of the list item, that `path` leads to; of the last one on the way that is there.

        Parts that are no key there are passed over: pydantic's paths also name the member of a union.
        """
        node, line = self.root, 1
        for part in path:
            if isinstance(node, yaml.MappingNode):
                for key, value in node.value:
                    if key.value == str(part):
                        node, line = value, key.start_mark.line + 1
                        break
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                line = node.start_mark.line + 1
        return line

    def lines(self) -> dict[str, int]:
        """The line of each key, by its path with dots between; keys within lists are not among them."""
        return dict(_lines(self.root, ""))

    def twice(self) -> Iterator[tuple[int, str]]:
        """Line and name of each key that stands in a mapping for a second time: plain YAML lets it win in silence."""
        for node in _nodes(self.root):
            if isinstance(node, yaml.MappingNode):
                seen: set[str] = set()
                for key, _ in node.value:
                    if isinstance(key, yaml.ScalarNode):
                        if key.value in seen:
                            yield key.start_mark.line + 1, key.value
                        seen.add(key.value)


_RESOLVERS = {
    first: [one for one in found if one[0] in ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:merge")]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _Loader(yaml.SafeLoader):
    """YAML's own rules for plain values give way to `_plain`."""

    money = False
    yaml_implicit_resolvers = _RESOLVERS


class _LibraryLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The same with the parser of libyaml where there is one, which takes a tenth of the time."""

    money = False
    yaml_implicit_resolvers = _RESOLVERS


def _plain(loader: _Loader, node: yaml.ScalarNode) -> Any:
    """The value of a scalar: plain ones are read narrowly, what stands in quotes is a text."""
    text: str = loader.construct_scalar(node)
    if any("\ud800" <= one <= "\udfff" for one in text):
        raise _refused(node, "holds half a character (\\ud800 to \\udfff alone); write the whole one")
    if node.style:
        return text
    if _NULL.fullmatch(text):
        return None
    if _TRUTH.fullmatch(text):
        return text.lower() == "true"
    if _INTEGER.fullmatch(text) and len(text) <= _DIGITS and text != "-0":
        return int(text)
    if _DECIMAL.fullmatch(text) and len(text) <= _DIGITS and not re.fullmatch(r"-0\.0", text):
        return float(text)
    if loader.money and _MONEY.fullmatch(text) and len(text) <= _DIGITS:
        return float(text)
    if _WORDS.fullmatch(text):
        raise _refused(node, f'{text} is a text to some and a truth value to others; write "{text}", or true or false')
    if _NUMBERLIKE.fullmatch(text):
        raise _refused(
            node,
            f'{_short(text)} is a number that YAML would change; write "{_short(text)}" if it is a text, '
            "else the number in plain digits, such as 1000 or 1.5",
        )
    return text


def _instant(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
    """Dates and instants as YAML has them."""
    if node.style:
        return loader.construct_scalar(node)
    try:
        return loader.construct_yaml_timestamp(node)
    except (ValueError, OverflowError):
        raise _refused(
            node, f'{node.value} is no date of the calendar; correct it, or write "{node.value}" for a text'
        ) from None


def _refused(node: yaml.Node, said: str) -> yaml.MarkedYAMLError:
    return _RefusedYaml(problem=said, problem_mark=node.start_mark)


class _RefusedYaml(yaml.MarkedYAMLError):
    """Ours, whose words stand as they are."""


for _one in (_Loader, _LibraryLoader):
    _one.add_constructor("tag:yaml.org,2002:str", _plain)
    _one.add_constructor("tag:yaml.org,2002:timestamp", _instant)


def read(text: str, *, money: bool = False) -> Document:
    """Parse one document. Raises `Unreadable`. `money`: 2500.50 is a number and a key may be a whole
    one, as in rows that stand for a table's.
    """
    if not _may_be_deep(text):
        with suppress(Unreadable):  # the other parser says it in the words that `_SAID` knows
            return _read(_LibraryLoader, text, money)
    return _read(_Loader, text, money)


def _may_be_deep(text: str) -> bool:
    """The library counts no depth: far down it ends the process, where Python's parser raises."""
    # What is nested without a bracket begins at most twice in the same column.
    longest = max(map(len, text.splitlines()), default=0)
    return 2 * longest + text.count("[") + text.count("{") > _DEEPEST


def _read(kind: type[_Loader], text: str, money: bool) -> Document:
    try:
        loader = kind(text)
        loader.money = money
    except yaml.YAMLError as error:
        raise _unreadable(text, error) from None
    except ValueError:  # half a character, which only one of the two parsers reads
        raise Unreadable(1, "holds a value that YAML cannot read; put it in quotes") from None
    try:
        root = loader.get_single_node()
        _bounded(root, numbers=money)
        return Document(None if root is None else loader.construct_document(root), root)
    except yaml.YAMLError as error:
        raise _unreadable(text, error) from None
    except RecursionError:
        raise Unreadable(1, "is nested too deeply; write it flatter") from None
    except (ValueError, OverflowError, TypeError):
        raise Unreadable(1, "holds a value that YAML cannot read; put it in quotes") from None
    finally:
        loader.dispose()


def _unreadable(text: str, error: yaml.YAMLError) -> Unreadable:
    if isinstance(error, _RefusedYaml) and error.problem_mark is not None:
        return Unreadable(error.problem_mark.line + 1, str(error.problem))
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        said = f"{error.problem} {error.context or ''}"
        line = mark.line + 1 if mark else 1
    else:  # a character that YAML does not allow
        said, at = str(error), getattr(error, "position", 0)
        line = text.count("\n", 0, at) + 1
    last = max(1, len(text.splitlines()))
    plain = next(
        (words for pattern, words in _SAID if re.search(pattern, said)), "check quotes, colons and indentation"
    )
    return Unreadable(min(line, last), f"is not YAML: {plain}")


def _nodes(root: yaml.Node | None) -> Iterator[yaml.Node]:
    """Every node once."""
    waiting, met = [root], set()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in met:
            continue
        met.add(id(node))
        yield node
        if isinstance(node, yaml.SequenceNode):
            waiting.extend(node.value)
        elif isinstance(node, yaml.MappingNode):
            waiting.extend(part for pair in node.value for part in pair)


def _bounded(root: yaml.Node | None, *, numbers: bool) -> None:
    """Refuse a document that holds itself, or that aliases blow up, or whose keys are no names."""
    for node in _nodes(root):
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and not key.style and _no_name(key, numbers):
                raise _refused(key, f"key {_short(key.value) or '~'} is no name; write it in quotes")
    sizes: dict[int, int | None] = {}

    def size(node: yaml.Node) -> int:
        known = sizes.get(id(node), 0)
        if known is None:
            raise _refused(node, "an alias leads back into what it stands in; write the value out")
        if known:
            return known
        sizes[id(node)] = None
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            parts = node.value
        elif isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        total = 1 + sum(size(part) for part in parts)
        if total > LARGEST:
            raise _refused(node, f"aliases make more than {LARGEST} values of it; write fewer")
        sizes[id(node)] = total
        return total

    if root is not None:
        size(root)


def _no_name(key: yaml.ScalarNode, numbers: bool) -> bool:
    patterns = (_NULL, _TRUTH, _DECIMAL) if numbers else (_NULL, _TRUTH, _INTEGER, _DECIMAL)
    return key.tag == "tag:yaml.org,2002:timestamp" or any(one.fullmatch(key.value) for one in patterns)


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}…"


def _lines(node: yaml.Node | None, above: str) -> Iterator[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = f"{above}{key.value}"
            yield path, key.start_mark.line + 1
            yield from _lines(value, f"{path}.")
