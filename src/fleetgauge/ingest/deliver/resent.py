"""An event that is sent again with a new time, on the other side of UTC midnight, would be stored in two daily indices.

An id is unique within one index, so it is looked for in the neighbouring one: only of events within an hour of
midnight, for a device that got no answer tries again soon. Beyond that hour another time makes another event, as
docs/ingest.md says. What is the same but for its time is stored already, and counts as a duplicate.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec

from fleetgauge.elasticsearch.transport import Bulk, Cause, error_of
from fleetgauge.errors import Transient
from fleetgauge.ingest.check.batch import Batch
from fleetgauge.ingest.deliver.collisions import drop, payload
from fleetgauge.ingest.indices.event_indices import NEAR_MS

_ASKED_AT_ONCE = 1_000
_TIME = "timestamp"
_DECODER = msgspec.json.Decoder(float_hook=float)
_MISSING = "index_not_found_exception"


class _Look(msgspec.Struct, rename={"index": "_index", "id": "_id"}):
    index: str
    id: str
    found: bool = False
    error: Cause | None = None


class _Looks(msgspec.Struct):
    docs: list[_Look]


class Resent:
    """Looks for them; called from worker threads, blocks for some requests."""

    def __init__(self, bulk: Bulk, unasked: Callable[[str], None], short_lived: Collection[str] = ()) -> None:
        """`unasked` is told why some could not be looked for.

        `short_lived`: fields that go before their document does; they don't tell events apart.
        """
        self._short_lived = tuple(short_lived)
        self._bulk = bulk
        self._unasked = unasked

    def find(self, batch: Batch) -> list[int]:
        """Documents of the batch that are stored already, or stand before in it, under another day; ascending.

        Raises `Transient` if Elasticsearch does not say: ask again.
        """
        if not batch.near_midnight:
            return []
        near = batch.near_midnight
        before: dict[str, dict[str, int]] = {index: {} for index, _, _ in near.values()}
        asked: dict[str, list[int]] = {other: [] for _, other, _ in near.values()}
        found: list[int] = []
        for i, (index, other, id_) in near.items():
            if other in before:  # the batch holds events of both sides
                twin = before[other].get(id_)
                if twin is not None and self._same(_value(batch, twin), _value(batch, i)):
                    found.append(i)
                    continue
                before[index][id_] = i
            asked[other].append(i)
        for other, positions in asked.items():
            ids = [near[i][2] for i in positions]
            if stored := self._documents(other, self._stored(other, list(dict.fromkeys(ids)))):
                pairs = ((i, stored.get(id_)) for i, id_ in zip(positions, ids, strict=True))
                found += [i for i, one in pairs if one is not None and self._same(one, _value(batch, i))]
        return sorted(found)

    def _same(self, one: dict[str, Any], other: dict[str, Any]) -> bool:
        for path in self._short_lived:
            for document in (one, other):
                drop(document, path)
        return _same(one, other)

    def _stored(self, index: str, ids: Sequence[str]) -> list[str]:
        """Those of `ids` that are stored there. As a rule none: it must be cheap, and take no document apart."""
        found: list[str] = []
        for at in range(0, len(ids), _ASKED_AT_ONCE):
            some = ids[at : at + _ASKED_AT_ONCE]
            body = self._ask(f"/{index}/_mget?_source=false", {"ids": some})
            if body is None:
                return found
            if body == _none_found(index, some):
                continue
            try:
                looks = msgspec.json.decode(body, type=_Looks).docs
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise _unsaid(f"{type(error).__name__} in the answer") from None
            if [one.id for one in looks] != some or any(one.index != index for one in looks):
                raise _unsaid("Elasticsearch answers about other documents")
            kinds = {one.error.type for one in looks if one.error is not None}
            if kinds == {_MISSING}:
                return found
            if kinds:
                self._unasked(f"Elasticsearch answers {', '.join(sorted(kinds))}")
            found += [one.id for one in looks if one.found]
        return found

    def _documents(self, index: str, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The documents under `ids`. One that nobody can read would be asked for without end: it counts as another."""
        found: dict[str, dict[str, Any]] = {}
        for at in range(0, len(ids), _ASKED_AT_ONCE):
            some = ids[at : at + _ASKED_AT_ONCE]
            body = self._ask(f"/{index}/_mget", {"ids": some})
            if body is None:
                return found
            try:
                documents = _DECODER.decode(body)["docs"]
                if [(one["_index"], one["_id"]) for one in documents] != [(index, id_) for id_ in some]:
                    raise _unsaid("Elasticsearch answers about other documents")
                found |= {one["_id"]: one["_source"] for one in documents if one.get("found")}
            except (msgspec.MsgspecError, KeyError, TypeError, UnicodeDecodeError, RecursionError) as error:
                self._unasked(f"{type(error).__name__} in a stored document")
        return found

    def _ask(self, path: str, body: Mapping[str, Any]) -> bytes | None:
        answer = self._bulk.request("POST", path, msgspec.json.encode(body))
        if answer.status in (401, 403):  # without the right there is nothing to wait for
            self._unasked("the login may not fetch documents; give it what deploy/elasticsearch/roles.yml does")
            return None
        if answer.status == 404 and error_of(answer.body)[0] == _MISSING:
            return None
        if answer.status != 200:
            raise _unsaid(f"Elasticsearch answers {answer.status}")
        return answer.body


def _none_found(index: str, ids: Sequence[str]) -> bytes:
    """The usual answer, word for word, so that it need not be taken apart. Another spelling of it is."""
    begin, end = f'{{"_index":"{index}","_id":"', '","found":false}'
    return f'{{"docs":[{begin}{f"{end},{begin}".join(ids)}{end}]}}'.encode()


def _unsaid(because: str) -> Transient:
    return Transient(f"neighbouring days cannot be looked at: {because}")


def _value(batch: Batch, i: int) -> dict[str, Any]:
    try:
        found: dict[str, Any] = _DECODER.decode(batch.record(i).value or b"{}")
    except (msgspec.DecodeError, RecursionError):  # too deep, or a number beyond any: nothing is compared
        return {}
    return found


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether they differ in their time alone, and are near each other."""
    times = [document.get(_TIME) for document in (one, other)]
    if not all(isinstance(at, int) for at in times) or abs(times[0] - times[1]) > 2 * NEAR_MS:  # type: ignore[operator]
        return False
    return {**payload(one), _TIME: 0} == {**payload(other), _TIME: 0}
