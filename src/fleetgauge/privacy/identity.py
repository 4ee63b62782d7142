"""One person's id: what counts as the same id, how it may be written in a text, and its keyed digest.

- An id of one case, such as a UUID, is the same in the other case; one of mixed case is itself alone, since `aB3` and
  `Ab3` may be two persons.
- In a text (a payload that is no JSON, a message) an id stands between characters that are not alphanumeric: as it is,
  with the escapes of JSON, or with those of a URL.
- An id that could stand for anything else, such as 42, is the person's only beside the name of a field that holds
  persons; elsewhere the same number counts something.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from fleetgauge.privacy.distinct_key import DistinctKey

ERASED = "(erased)"
"""What stands in a text where an id stood."""
RIDER = "rider"
"""The subject that is meant where none is named."""
_SHORTEST, _SURE = 4, 9
"""Characters of an id with digits and others, and of any, that is taken for nothing else."""
_BEFORE = (
    r"(?:(?<![A-Za-z0-9])|(?<=%[0-9A-Fa-f][0-9A-Fa-f])|(?<=%25[0-9A-Fa-f][0-9A-Fa-f])|(?<=\\u[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f])"
    r"|(?<=\\[bfnrt]))"
)
_AFTER = r"(?![A-Za-z0-9])"
_MARKS = r"""[\\"'\s:=()\[\]]{1,12}"""
"""Between the name of a field and its value, in JSON, in Postgres's messages and in Python's."""


def canonical(value: Any) -> str:
    """What is digested: the text of an id, in lower case unless its case is a part of it."""
    text = str(value)
    return text.lower() if text in (text.lower(), text.upper()) else text


def digest(value: Any, key: DistinctKey) -> str:
    """HMAC-SHA-256 of an id as `canonical` has it, in hexadecimal digits: what is kept of an erased person."""
    return key.digest(canonical(value).encode("utf-8", "surrogatepass")).hex()


def is_telling(text: str) -> bool:
    """Whether an id stands for nothing else, wherever it is written."""
    digits, words = any(c.isdigit() for c in text), any(c.isalpha() for c in text)
    return len(text) >= _SURE or (len(text) >= _SHORTEST and digits and words)


def is_id(value: Any) -> bool:
    """Whether a value of JSON may be an id: a text or a whole number."""
    return isinstance(value, str | int) and not isinstance(value, bool)


def names_of(subject: str, fields: Iterable[str] = ()) -> tuple[str, ...]:
    """Names beside which a short id is a person's: the fields' own, without their paths, and those usual for it."""
    words = subject.split("_")
    camel = words[0] + "".join(word.capitalize() for word in words[1:])
    usual = {subject, f"{subject}_id", f"{camel}Id", f"{camel}ID"}
    return tuple(sorted(usual | {path.removesuffix("[]").rpartition(".")[2] for path in fields}))


@dataclass(frozen=True)
class Identity:
    """One person's id, as somebody wrote it. Its `repr` does not show it."""

    id: str = field(repr=False)
    names: tuple[str, ...] = names_of(RIDER)
    """Beside which it is known, if it could stand for something else."""

    @property
    def spellings(self) -> tuple[str, ...]:
        """The texts that are this id."""
        if canonical(self.id) == self.id.lower():
            return tuple(sorted({self.id, self.id.lower(), self.id.upper()}))
        return (self.id,)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The whole number that is this id, if it is one."""
        return (int(self.id),) if re.fullmatch(r"0|-?[1-9][0-9]{0,17}", self.id) else ()

    def equals(self, value: Any) -> bool:
        """Whether a value of JSON is this id."""
        return is_id(value) and str(value) in self.spellings

    @cached_property
    def pattern(self) -> str:
        """A regular expression that finds the id in a text; read alike by Python and Postgres."""
        written = "".join(_written(character, both=len(self.spellings) > 1) for character in self.id)
        if is_telling(self.id):
            return f"{_BEFORE}(?:{written}){_AFTER}"
        fields = "|".join(re.escape(name) for name in self.names)
        return f"(?:{fields}){_MARKS}(?:{written}){_AFTER}"

    @cached_property
    def _found(self) -> re.Pattern[str]:
        return re.compile(self.pattern)

    def is_in(self, text: str) -> bool:
        """Whether the id is written in a text."""
        return self._found.search(text) is not None

    def blotted(self, text: str) -> str:
        """The text with `ERASED` wherever the id is written, with the field's name before a short one."""
        return self._found.sub(ERASED, text)

    def blotted_bytes(self, data: bytes) -> bytes:
        """As `blotted`; bytes that are no UTF-8 stay as they are."""
        return self.blotted(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def _written(character: str, *, both: bool) -> str:
    """A pattern of one character, as it is or escaped; `both`: in either case."""
    forms = {character, character.lower(), character.upper()} if both else {character}
    return "(?:" + "|".join(sorted({way for form in forms for way in _ways(form)})) + ")"


def _ways(form: str) -> Iterable[str]:
    yield re.escape(form)
    units = form.encode("utf-16-be", "surrogatepass")
    yield "".join(rf"\\+u{_hex(units[i : i + 2].hex())}" for i in range(0, len(units), 2))
    yield "".join(f"%(?:25)*{_hex(f'{byte:02x}')}" for byte in form.encode("utf-8", "surrogatepass"))


def _hex(digits: str) -> str:
    return "".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in digits)
