"""A stored command event, and the fact that it states: one row of `fleetgauge.command_event`."""

from collections.abc import Callable
from operator import attrgetter
from typing import Annotated, Any, Literal, cast

import msgspec

from fleetgauge.commands.columns import EVENT, RESPONDED, STEPS, EventColumn
from fleetgauge.postgres.nul_text import without_nul

_POSTGRES_EPOCH_MS = 946_684_800_000  # 2000-01-01T00:00:00Z
_NUL = rb"\u0000"

Fact = tuple[Any, ...]
"""Values in the order of `columns.EVENT`; times as Postgres counts them (see `postgres_microseconds`)."""

_TYPES: dict[str, Any] = {
    "text": Annotated[str, msgspec.Meta(min_length=1)],
    "smallint": Annotated[int, msgspec.Meta(ge=1, le=32_767)],
    "integer": Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)],
    "timestamptz": Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999)],  # ms, up to year 9999
    "event.action": Literal["requested", "sent", "delivered", "responded"],
    "result": Literal["succeeded", "failed", "rejected"],
}
"""By path where a column's document differs from its column, else by kind."""

SOURCE_FIELDS = tuple(sorted({column.path for column in EVENT}))
"""The fields of a document that are needed."""


def postgres_microseconds(milliseconds: int) -> int:
    """Milliseconds since 1970 as the integer inside a `timestamptz`: microseconds since 2000, in UTC. Exact."""
    return (milliseconds - _POSTGRES_EPOCH_MS) * 1000


def _document() -> type[msgspec.Struct]:
    """The struct of a document, nested as the columns' paths are. What may be left out is None then."""

    def made(name: str, columns: list[tuple[list[str], EventColumn]]) -> type[msgspec.Struct]:
        below: dict[str, list[tuple[list[str], EventColumn]]] = {}
        fields: list[Any] = []
        for (first, *rest), column in columns:
            if rest:
                below.setdefault(first, []).append((rest, column))
                continue
            kind = _TYPES.get(column.path, _TYPES[column.kind])
            fields.append((first, kind | None, None) if column.optional else (first, kind))
        for first, inner in below.items():
            struct = made(first, inner)
            if all(column.optional for _, column in inner):
                fields.append((first, struct, msgspec.field(default_factory=struct)))
            else:
                fields.append((first, struct))
        return msgspec.defstruct(name, fields, kw_only=True)

    return made("CommandEvent", [(column.path.split("."), column) for column in EVENT])


_DECODE = msgspec.json.Decoder(_document()).decode
_VALUES = cast(Callable[[Any], tuple[Any, ...]], attrgetter(*(column.path for column in EVENT)))
_NAMES = tuple(column.name for column in EVENT)
_STEP, _RESULT = _NAMES.index("step"), _NAMES.index("result")
_ANSWER = tuple(_NAMES.index(name) for name in ("result", "error_code"))
_TIMES = tuple(index for index, column in enumerate(EVENT) if column.kind == "timestamptz")
_TEXTS = tuple(index for index, column in enumerate(EVENT) if column.kind == "text")
_STEP_OF = {action: index for index, action in enumerate(STEPS, start=1)}


def fact(source: msgspec.Raw | bytes) -> Fact:
    """The fact that a document (JSON) states. Raises `ValueError` saying what is wrong with it.

    Ingest has checked the document against its contract, so a failure means that contract and columns drifted apart.
    """
    found = list(_VALUES(_DECODE(source)))  # its errors are ValueErrors
    for index in _TIMES:
        found[index] = postgres_microseconds(found[index])
    found[_STEP] = step = _STEP_OF[found[_STEP]]
    if step != RESPONDED:
        for index in _ANSWER:
            found[index] = None
    elif found[_RESULT] is None:
        raise ValueError("a response without `result`")
    if _NUL in bytes(source):
        for index in _TEXTS:
            found[index] = _storable(found[index])
    return tuple(found)


def _storable(text: str | None) -> str | None:
    """JSON can hold one character that Postgres cannot."""
    return without_nul(text) if text is not None else None
