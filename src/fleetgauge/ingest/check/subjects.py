"""Takes persons who have been erased out of records, before they are stored or dead-lettered.

Kafka keeps its records until they expire, so that a restart, a replay or a rewind reads an erased person again. The
event counts as it did, so that no number changes; who it was about is gone.
"""

from collections.abc import Callable

import msgspec

from fleetgauge.contracts import ContractSet
from fleetgauge.kafka.records import Records
from fleetgauge.privacy.erased import Erased
from fleetgauge.privacy.identity import RIDER, Identity, names_of
from fleetgauge.privacy.redaction import decoded, redacted, values_at


class Subjects:
    """The persons of one consumer's contracts. Belongs to the poll thread; never blocks."""

    def __init__(self, contracts: ContractSet, erased: Callable[[], Erased]) -> None:
        self._paths = {kind: frozenset(contract.subjects) for kind, contract in contracts.kinds.items()}
        words = {subject for one in contracts.contracts for subject in one.subjects.values()} or {RIDER}
        paths = {path for one in contracts.contracts for path in one.subjects}
        self._names = tuple(sorted({name for word in words for name in names_of(word, paths)}))
        self._erased = erased

    @property
    def any(self) -> bool:
        """Whether somebody has been erased at all: else records need no look."""
        return bool(self._erased())

    def valid(self, records: Records, i: int, kind: type) -> bytes | None:
        """The payload of a valid event without those who have been erased; None if it names none of them.

        Changes the record, so that whatever becomes of it is without them too.
        """
        if not (paths := self._paths[kind]):
            return None
        value = records.values[i] or b""
        document = decoded(value)
        found = self._erased().among([one for path in paths for one in values_at(document, path)], self._names)
        if not found:
            return None
        for identity in found:
            document = redacted(document, identity, paths)
        records.values[i] = left = msgspec.json.encode(document)
        self._beside(records, i, found)
        return left

    def broken(self, records: Records, i: int) -> None:
        """Blot erased persons out of a payload that can't be stored; of one that can't be unpacked nobody knows."""
        if i not in records.unreadable and (value := records.values[i]):
            records.values[i] = self._blotted(value)

    def beside(self, records: Records) -> None:
        """Blot erased persons out of keys and headers, which a dead letter keeps."""
        records.keys = [None if key is None else self._blotted(key) for key in records.keys]
        for i, headers in records.headers.items():
            records.headers[i] = [(name, None if said is None else self._blotted(said)) for name, said in headers]

    def _blotted(self, data: bytes) -> bytes:
        for identity in self._erased().named_in(data, self._names):
            data = identity.blotted_bytes(data)
        return data

    @staticmethod
    def _beside(records: Records, i: int, found: list[Identity]) -> None:
        for identity in found:
            if (key := records.keys[i]) is not None:
                records.keys[i] = identity.blotted_bytes(key)
            if i in records.headers:
                records.headers[i] = [
                    (name, None if said is None else identity.blotted_bytes(said)) for name, said in records.headers[i]
                ]


def names_nobody(contracts: ContractSet) -> bool:
    """Whether no contract says that a field is the id of a person."""
    return not any(one.subjects for one in contracts.contracts)
