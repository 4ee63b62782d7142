"""Who has been erased, as keyed digests: nobody learns an id from it, and whoever has one sees that it is in it."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from fleetgauge.privacy.distinct_key import DistinctKey
from fleetgauge.privacy.identity import Identity, digest, is_id, is_telling

_TOKEN = re.compile(r"\w+(?:[.-]+\w+)*")
_ESCAPE = re.compile(r"\\+u([0-9A-Fa-f]{4})")


@dataclass(frozen=True)
class Erased:
    """A list of erased persons, all of one key. Immutable."""

    key: DistinctKey
    digests: frozenset[str] = field(default=frozenset(), repr=False)

    def __bool__(self) -> bool:
        return bool(self.digests)

    def holds(self, value: Any) -> bool:
        """Whether a value of JSON is the id of somebody who has been erased."""
        return bool(self.digests) and is_id(value) and digest(value, self.key) in self.digests

    def among(self, values: Iterable[Any], names: tuple[str, ...]) -> list[Identity]:
        """Those of the values that are erased persons."""
        return [Identity(str(value), names) for value in values if self.holds(value)]

    def named_in(self, data: bytes, names: tuple[str, ...]) -> list[Identity]:
        """Erased persons whose id is written in a payload that cannot be read; see `identity`."""
        if not self.digests:
            return []
        text = unquote(unquote(_ESCAPE.sub(lambda found: chr(int(found[1], 16)), data.decode("utf-8", "replace"))))
        return self.among(dict.fromkeys(_candidates(text, names)), names)


def _candidates(text: str, names: tuple[str, ...]) -> Iterator[str]:
    for token in _TOKEN.findall(text):
        parts = [token, *re.split(r"_", token)] if "_" in token else [token]
        yield from (part for part in parts if is_telling(part))
    beside = "|".join(re.escape(name) for name in names)
    for found in re.finditer(rf"(?:{beside})[\\\"'\s:=()\[\]]{{1,12}}(-?\w+(?:[.-]+\w+)*)", text):
        yield found[1]
