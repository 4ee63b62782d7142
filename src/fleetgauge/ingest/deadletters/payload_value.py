"""The value that a dead-letter limit goes by, out of a payload that may be broken."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import msgspec

from fleetgauge.ingest.deadletters.limit_counter import UNREADABLE

_LONGEST = 48


def reader(path: str | None) -> Callable[[bytes | None], str]:
    """A function from payload to the text at the dotted `path`; never raises. Without a path: always the empty text.

    What is no short printable text (nor a number) is `UNREADABLE`: it goes into logs and Kafka's commit metadata.
    """
    if path is None:
        return lambda _payload: ""
    names = path.split(".")
    shape: Any = Any
    for name in reversed(names):  # decoded no further than needed
        shape = msgspec.defstruct("At", [("found", shape, msgspec.UNSET)], rename={"found": name})
    decode = msgspec.json.Decoder(shape).decode

    def read(payload: bytes | None) -> str:
        try:
            found = reduce(lambda at, _name: at.found, names, decode(payload or b""))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, AttributeError):
            return UNREADABLE
        text = str(found) if isinstance(found, str | int | bool) else ""
        return text if text.isascii() and text.isprintable() and 0 < len(text) <= _LONGEST else UNREADABLE

    return read
