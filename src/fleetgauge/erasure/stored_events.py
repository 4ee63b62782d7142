"""Stored events without a person: the event stays and counts as it did, the fields that name the person go.

Which fields those are, contracts say (`subject`). Old bytes go from disk when Lucene merges; it is asked to at once.
"""

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from fleetgauge.contracts import ContractSet
from fleetgauge.elasticsearch.admin_requests import ask
from fleetgauge.elasticsearch.transport import Bulk
from fleetgauge.erasure.found import Found, Tell
from fleetgauge.errors import Stop, Transient
from fleetgauge.ingest.consumer import Consumer
from fleetgauge.ingest.operate.field_retention import DocumentPage, FoundDocument, expunge
from fleetgauge.ingest.operate.index_retention import beside_days, days
from fleetgauge.privacy.identity import Identity, is_telling
from fleetgauge.privacy.redaction import decoded, redacted

PAGE = 500
"""Documents of one request."""
_PATIENCE = 5
"""How often the same documents may be found again, since somebody else changes them."""


class StoredEvents:
    """Those of one consumer."""

    def __init__(
        self, bulk: Bulk, consumer: Consumer, contracts: ContractSet, identity: Identity, subject: str
    ) -> None:
        self.name = f"index {consumer.index}"
        self._bulk = bulk
        self._prefix = consumer.index
        self._identity = identity
        self._paths = frozenset(
            path for one in contracts.contracts for path, of in one.subjects.items() if of == subject
        )

    def run(self, tell: Tell, *, dry_run: bool) -> None:
        """See `ErasureStep.run`. Reads no document that does not name the person."""
        if not self._paths:
            return
        # A copy behind the alias, such as a snapshot restored under another name, names the person too.
        indices = [day.index for day in days(self._bulk, self._prefix)] + beside_days(self._bulk, self._prefix)
        for index in indices:
            self._ask("POST", f"/{quote(index)}/_refresh")
            if dry_run:
                found = self._ask("POST", f"/{quote(index)}/_count", {"query": self._query()})
                tell(Found(index, "documents", int(found["count"])))
                continue
            done = 0
            for page in self._pages(index):
                written = self._write(page)
                done += written
                tell(Found(index, "documents", written))
                self._ask("POST", f"/{quote(index)}/_refresh")
            if done:
                expunge(self._bulk, index)

    def _query(self) -> dict[str, Any]:
        fields = sorted(path.replace("[]", "") for path in self._paths)
        return {"bool": {"should": [{"terms": {field: list(self._identity.spellings)}} for field in fields]}}

    def _pages(self, index: str) -> Iterator[Sequence[FoundDocument]]:
        """The documents that still name the person, until there are none: what is written is not found again."""
        before: set[str] = set()
        stood = 0
        while True:
            query = {"size": PAGE, "query": self._query(), "seq_no_primary_term": True, "sort": ["_doc"]}
            hits = self._ask("POST", f"/{quote(index)}/_search", query, shape=DocumentPage).hits.hits
            if not hits:
                return
            ids = {hit.id for hit in hits}
            stood = stood + 1 if ids <= before else 0
            if stood > _PATIENCE:
                raise Stop(f"index {index} keeps documents of an erased person; this is a defect, report it")
            before = ids
            yield hits

    def _write(self, hits: Sequence[FoundDocument]) -> int:
        """Returns how many were written; the others have been changed meanwhile, and are found again."""
        lines: list[bytes] = []
        for hit in hits:
            left = redacted(decoded(hit.source), self._identity, self._paths)
            own = {"_index": hit.index, "_id": hit.id}
            checked = {**own, "if_seq_no": hit.seq_no, "if_primary_term": hit.term}
            other = self._identity.blotted(hit.id) if is_telling(self._identity.id) else hit.id
            if other == hit.id:
                lines += _lines({"index": checked}, left)
            else:  # the id of the document names the person too
                lines += [*_lines({"index": {**own, "_id": other}}, left), *_lines({"delete": checked})]
        answer = self._bulk.request("POST", "/_bulk", b"".join(lines))
        if answer.status != 200:
            raise Transient(f"documents of {self._prefix} cannot be written: Elasticsearch answers {answer.status}")
        conflicts = 0
        for item in msgspec.json.decode(answer.body)["items"]:
            said = next(iter(item.values()))
            kind = said.get("error", {}).get("type", "")
            conflicts += kind == "version_conflict_engine_exception"
            if said["status"] >= 300 and kind != "version_conflict_engine_exception":
                raise Transient(
                    f"a document of {said['_index']} cannot be written ({kind}); let the index take writes, give the "
                    "login the rights read and index, and erase again"
                )
        return len(hits) - conflicts

    def _ask(self, method: str, path: str, body: Any = None, shape: Any = dict[str, Any]) -> Any:
        return ask(self._bulk, method, path, body, self._right(), shape=shape)

    def _right(self) -> str:
        return f"give the login read, index, delete, maintenance, monitor and manage on {self._prefix}-*"


def _lines(*parts: Any) -> list[bytes]:
    return [msgspec.json.encode(part) + b"\n" for part in parts]
