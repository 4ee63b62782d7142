"""Two different events under one id would be a silent loss: compare a sample of duplicates with what is stored."""

from collections.abc import Sequence
from typing import Any

import msgspec
import structlog

from fleetgauge.elasticsearch.transport import Bulk
from fleetgauge.errors import Transient
from fleetgauge.ingest.check.batch import Batch
from fleetgauge.ingest.indices.event_indices import POSITION, SUFFIX

SAMPLE = 3
"""Duplicates of a batch that are compared: a replay of a whole topic stays quick."""
_PATH = "/_mget"
"""Without a filter: that would have the server parse documents, and write their numbers in another way."""
_DECODER = msgspec.json.Decoder(float_hook=float)
"""Reads what msgspec alone refuses: numbers beyond a double."""


class Collisions:
    """Looks for them; called from worker threads, blocks for one request."""

    def __init__(self, bulk: Bulk) -> None:
        self._bulk = bulk
        self._told = False

    def find(self, batch: Batch, duplicates: Sequence[int]) -> list[int]:
        """Those of a spread sample of `duplicates` whose stored payload differs. Never raises for the server's sake."""
        sample = duplicates[:: max(1, len(duplicates) // SAMPLE)][:SAMPLE]
        if not sample:
            return []
        wanted = [dict(zip(("_index", "_id"), batch.id_of(i), strict=True)) for i in sample]
        try:
            answer = self._bulk.request("POST", _PATH, msgspec.json.encode({"docs": wanted}))
            if answer.status == 403:
                self._tell(batch.id_of(sample[0])[0])
            found = _DECODER.decode(answer.body)["docs"] if answer.status == 200 else []
        except (Transient, msgspec.MsgspecError, KeyError, UnicodeDecodeError, RecursionError):
            return []  # a check beside the work: no reason to hold it up
        if len(found) != len(sample):
            return []
        return [
            i
            for i, document in zip(sample, found, strict=True)
            if "_source" in document and not _same(document["_source"], batch.record(i).value or b"")
        ]

    def _tell(self, index: str) -> None:
        if not self._told:
            self._told = True
            structlog.get_logger("fleetgauge.ingest").warning(
                "duplicates are not compared with what is stored: the login may not fetch documents; give it read, or "
                "less, as deploy/elasticsearch/roles.yml does",
                index=index,
            )


def _same(document: dict[str, Any], value: bytes) -> bool:
    try:
        return _payload(document) == _payload(_DECODER.decode(value))
    except RecursionError:  # too deep for the stack of this thread; it was not for the one that decoded it
        return True


def _payload(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in SUFFIX and key != POSITION}
