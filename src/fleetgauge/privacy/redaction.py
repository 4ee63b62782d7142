"""A document without a person: members that are the id go, and texts that hold it keep the rest. Pure."""

from typing import Any

import msgspec

from fleetgauge.privacy.identity import Identity, is_telling

_GONE = object()


def _as_written(fraction: str) -> msgspec.Raw:
    return msgspec.Raw(fraction.encode())


_DECODER = msgspec.json.Decoder(float_hook=_as_written)


def decoded(payload: bytes | msgspec.Raw) -> Any:
    """A payload to redact, whose fractions stay as they are written: a double cannot hold all that is stored.

    Raises `msgspec.MsgspecError`, `UnicodeDecodeError`, `RecursionError`.
    """
    return _DECODER.decode(payload)


def redacted(document: Any, identity: Identity, paths: frozenset[str] = frozenset()) -> Any:
    """The document without the id, at any depth; the same one again comes out as it went in.

    `paths`: where contracts say that a person stands, dotted, `[]` after a list. A value elsewhere that is the id goes
    only if it can be nothing else, or bears one of the id's names. What is nothing but the id becomes null.
    """
    found = _without(document, identity, paths, "")
    return None if found is _GONE else found


def _without(value: Any, identity: Identity, paths: frozenset[str], at: str) -> Any:
    if isinstance(value, dict):
        kept = {}
        for name, child in value.items():
            rest = _without(child, identity, paths, f"{at}.{name}" if at else name)
            if rest is not _GONE:
                kept[identity.blotted(name) if is_telling(identity.id) else name] = rest
        return kept
    if isinstance(value, list):
        parts = [_without(child, identity, paths, f"{at}[]") for child in value]
        return [part for part in parts if part is not _GONE]
    if identity.equals(value) and (at in paths or is_telling(identity.id) or _name(at) in identity.names):
        return _GONE
    if isinstance(value, str):
        return identity.blotted(value)
    return value


def _name(at: str) -> str:
    return at.rstrip("[]").rpartition(".")[2]


def values_at(value: Any, path: str) -> list[Any]:
    """What a document holds at a dotted path, of lists (`[]` after their name) each element."""
    if not path:
        return [value]
    step, _, rest = path.partition(".")
    name = step.rstrip("[]")
    if not isinstance(value, dict) or name not in value:
        return []
    found = [value[name]]
    for _list in range(step.count("[]")):
        found = [one for many in found if isinstance(many, list) for one in many]
    return [one for child in found for one in values_at(child, rest)]
