"""An event that is sent again with a new time, on the other side of UTC midnight, would be stored in two daily indices.

An id is unique within one index, so it is looked for in the neighbouring one: only of events within an hour of
midnight, for a device that got no answer tries again soon. Beyond that hour another time makes another event, as
docs/ingest.md says. What is the same but for its time is stored already, and counts as a duplicate.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from fleetgauge.elasticsearch.transport import Bulk
from fleetgauge.errors import Transient
from fleetgauge.ingest.check.batch import Batch
from fleetgauge.ingest.deliver.collisions import payload
from fleetgauge.ingest.indices.event_indices import NEAR_MS

_ASKED_AT_ONCE = 1_000
_TIME = "timestamp"
_DECODER = msgspec.json.Decoder(float_hook=float)


class Resent:
    """Looks for them; called from worker threads, blocks for some requests."""

    def __init__(self, bulk: Bulk, unasked: Callable[[str], None]) -> None:
        """`unasked` is told why some could not be looked for."""
        self._bulk = bulk
        self._unasked = unasked

    def find(self, batch: Batch) -> list[int]:
        """Documents of the batch that are stored already, or stand before in it, under another day; ascending.

        Raises `Transient` if Elasticsearch does not say: ask again.
        """
        if not batch.near_midnight:
            return []
        before: dict[tuple[str, str], int] = {}
        asked: dict[int, tuple[str, str]] = {}
        found: list[int] = []
        for i, other in sorted(batch.near_midnight.items()):
            index, id_ = batch.id_of(i)
            twin = other, id_
            if twin in before and _same(_value(batch, before[twin]), _value(batch, i)):
                found.append(i)
                continue
            before[index, id_] = i
            asked[i] = twin
        there = self._fetch(asked, source=False)
        stored = self._fetch({i: asked[i] for i in there}, source=True)
        found += [i for i, document in stored.items() if _same(document, _value(batch, i))]
        return sorted(found)

    def _fetch(self, asked: Mapping[int, tuple[str, str]], *, source: bool) -> dict[int, dict[str, Any]]:
        """Of those that are stored, the document."""
        twins = list(asked.items())
        found: dict[int, dict[str, Any]] = {}
        for at in range(0, len(twins), _ASKED_AT_ONCE):
            some = twins[at : at + _ASKED_AT_ONCE]
            answers = self._ask([twin for _, twin in some], source=source)
            found |= {i: one.get("_source", {}) for (i, _), one in zip(some, answers, strict=True) if one.get("found")}
        return found

    def _ask(self, twins: Sequence[tuple[str, str]], *, source: bool) -> list[dict[str, Any]]:
        wanted = [{"_index": index, "_id": id_} for index, id_ in twins]
        path = f"/_mget?_source={str(source).lower()}"
        answer = self._bulk.request("POST", path, msgspec.json.encode({"docs": wanted}))
        if answer.status in (401, 403):  # without the right there is nothing to wait for
            self._unasked("the login may not fetch documents; give it what deploy/elasticsearch/roles.yml does")
            return [{}] * len(twins)
        if answer.status != 200:
            raise Transient(f"neighbouring days cannot be looked at: Elasticsearch answers {answer.status}")
        try:
            found: list[dict[str, Any]] = _DECODER.decode(answer.body)["docs"]
            if [(one["_index"], one["_id"]) for one in found] != list(twins):
                raise Transient("neighbouring days cannot be looked at: Elasticsearch answers about other documents")
        except (msgspec.MsgspecError, KeyError, TypeError, UnicodeDecodeError, RecursionError) as error:
            if source:  # a document that nobody can read would be asked for without end
                self._unasked(f"{type(error).__name__} in a stored document")
                return [{}] * len(twins)
            raise Transient(f"neighbouring days cannot be looked at: {type(error).__name__} in the answer") from None
        kinds = {one["error"].get("type") for one in found if "error" in one} - {"index_not_found_exception"}
        if kinds:
            self._unasked(f"Elasticsearch answers {', '.join(sorted(map(str, kinds)))}")
        return found


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
