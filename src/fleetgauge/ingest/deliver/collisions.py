"""Two different events under one id would be a silent loss: compare duplicates with what is stored.

A few duplicates of a batch are compared always, of different devices, those with the most first. A device of which one
differs numbers its events anew (a reset counter, a cloned identity), so all of its duplicates in
the batch are compared, and in those of the next hours. Whatever differs is kept as a dead letter of class `collision`.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec
import structlog

from fleetgauge.elasticsearch.transport import Bulk
from fleetgauge.errors import Transient
from fleetgauge.ingest.check.batch import Batch
from fleetgauge.ingest.indices.event_indices import POSITION, SUFFIX

FEW = 100
"""So many duplicates of a batch, or fewer, are all compared: retries and restarts leave no more, as a rule."""
SAMPLE = 20
"""Of more, about so many: a replay of a whole topic stays quick."""
WATCHED_S = 24 * 3600.0
"""How long a device that collided is compared in full."""
_WATCHED_AT_MOST = 10_000
_ASKED_AT_ONCE = 500
_PATH = "/_mget"
"""Without a filter: that would have the server parse documents, and write their numbers in another way."""
_DECODER = msgspec.json.Decoder(float_hook=float)
"""Reads what msgspec alone refuses: numbers beyond a double."""


class Collisions:
    """Looks for them; called from worker threads, blocks for some requests."""

    def __init__(
        self, bulk: Bulk, monotonic: Callable[[], float] = time.monotonic, short_lived: Collection[str] = ()
    ) -> None:
        """`short_lived`: fields that go before their document does, and are not compared once they are gone."""
        self._bulk = bulk
        self._short_lived = tuple(short_lived)
        self._monotonic = monotonic
        self._told = False
        self._watched: dict[str, float] = {}

    def find(self, batch: Batch, duplicates: Sequence[int]) -> list[int]:
        """Those of `duplicates` that were compared and whose stored payload differs, ascending.

        Raises `Transient` if a device that has collided cannot be compared now: ask again.
        """
        if not duplicates:
            return []
        devices = {i: batch.id_of(i)[1].partition(":")[0] for i in duplicates}
        watched = {i for i, device in devices.items() if self._is_watched(device)}
        chosen = watched | set(self._sample(duplicates, devices))
        different = self._different(batch, sorted(chosen), must=bool(watched))
        while different:
            suspects = {devices[i] for i in different}
            for device in suspects:
                self._watch(device)
            rest = sorted(i for i, device in devices.items() if device in suspects and i not in chosen)
            if not rest:
                break
            chosen |= set(rest)
            different += self._different(batch, rest, must=True)
        return sorted(different)

    def _sample(self, duplicates: Sequence[int], devices: dict[int, str]) -> Sequence[int]:
        if len(duplicates) <= FEW:
            return duplicates
        first = {devices[i]: i for i in reversed(duplicates)}
        most = [first[device] for device, _ in Counter(devices.values()).most_common(SAMPLE // 2)]
        spread = list(first.values()) if len(first) >= SAMPLE else duplicates
        return [*most, *spread[:: max(1, len(spread) // (SAMPLE // 2))][: SAMPLE // 2]]

    def _is_watched(self, device: str) -> bool:
        until = self._watched.get(device)
        if until is not None and until < self._monotonic():
            self._watched.pop(device, None)
            return False
        return until is not None

    def _watch(self, device: str) -> None:
        self._watched.pop(device, None)
        self._watched[device] = self._monotonic() + WATCHED_S
        while len(self._watched) > _WATCHED_AT_MOST:
            self._watched.pop(next(iter(self._watched)), None)

    def _different(self, batch: Batch, which: Sequence[int], *, must: bool) -> list[int]:
        """`must`: they are suspicious, so raise `Transient` rather than let one slip by."""
        found: list[int] = []
        for at in range(0, len(which), _ASKED_AT_ONCE):
            some = which[at : at + _ASKED_AT_ONCE]
            stored = self._stored(batch, some, must=must)
            found += [
                i
                for i, source in zip(some, stored, strict=True)
                if source is not None and not self._same(source, batch.record(i).value or b"")
            ]
        return found

    def _stored(self, batch: Batch, which: Sequence[int], *, must: bool) -> Sequence[dict[str, Any] | None]:
        nothing: Sequence[None] = [None] * len(which)
        wanted = [dict(zip(("_index", "_id"), batch.id_of(i), strict=True)) for i in which]
        try:
            answer = self._bulk.request("POST", _PATH, msgspec.json.encode({"docs": wanted}))
            if answer.status in (401, 403):  # without the right there is nothing to wait for
                self._tell(batch.id_of(which[0])[0])
                return nothing
            if answer.status != 200:
                raise Transient(f"duplicates cannot be compared: Elasticsearch answers {answer.status}")
            found = _DECODER.decode(answer.body)["docs"]
            if [(one["_index"], one["_id"]) for one in found] != [tuple(one.values()) for one in wanted]:
                raise Transient("duplicates cannot be compared: Elasticsearch answers about other documents")
            return [one.get("_source") for one in found]
        except (msgspec.MsgspecError, KeyError, TypeError, AttributeError, UnicodeDecodeError, RecursionError) as error:
            if must:
                raise Transient(f"duplicates cannot be compared: {type(error).__name__} in the answer") from None
            return nothing
        except Transient:
            if must:
                raise
            return nothing  # a check beside the work: no reason to hold it up

    def _same(self, document: dict[str, Any], value: bytes) -> bool:
        try:
            sent = _DECODER.decode(value)
            for path in self._short_lived:
                if not _has(document, path):
                    drop(sent, path)
            return payload(document) == payload(sent)
        except RecursionError:  # too deep for the stack of this thread; it was not for the one that decoded it
            return True

    def _tell(self, index: str) -> None:
        if not self._told:
            self._told = True
            structlog.get_logger("fleetgauge.ingest").warning(
                "duplicates are not compared with what is stored: the login may not fetch documents; give it read, or "
                "less, as deploy/elasticsearch/roles.yml does",
                index=index,
            )


def _has(document: Any, path: str) -> bool:
    for name in path.split("."):
        if not isinstance(document, dict) or name not in document:
            return False
        document = document[name]
    return True


def drop(document: Any, path: str) -> None:
    """Take a field out of a document, if it is there."""
    *parents, name = path.split(".")
    for parent in parents:
        document = document.get(parent) if isinstance(document, dict) else None
    if isinstance(document, dict):
        document.pop(name, None)


def payload(document: dict[str, Any]) -> dict[str, Any]:
    """The document without what ingest added to it."""
    return {key: value for key, value in document.items() if key not in SUFFIX and key != POSITION}
