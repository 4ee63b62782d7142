"""What ingest notes in the metadata of its commits, so that going back is seen even after the group has caught up.

An *epoch* is one way forward through a partition, without a step back, whoever walked it. A document that is stored
for the first time has an offset at or beyond all earlier ones of its epoch; a new epoch may store any offset.
"""

from typing import Any, Self
from uuid import uuid4

import msgspec


class CommitNote(msgspec.Struct, frozen=True, omit_defaults=True, rename={"epoch": "reading"}):
    """Kafka's commit metadata, as JSON; there an epoch is a `reading`, as version 0.1 wrote it."""

    epoch: str = ""
    """Id of the epoch; empty: the offset was not committed by ingest."""
    rewound_to: str = ""
    """The instant (ISO 8601, UTC) that a run with `--from-time` went back to, until that run is through."""
    dead_letters: dict[str, Any] = {}
    """How ingest's dead-letter limit stands in the partition, up to the offset."""
    missed: int = 0
    """Records that the topic's retention deleted before they were read, so far."""
    missed_ms: int = 0
    """When the last of them were found to be gone, milliseconds since the epoch."""

    @classmethod
    def parse(cls, metadata: str | None) -> Self:
        """The note of a commit; an empty one if it is somebody else's."""
        try:
            return msgspec.json.decode(metadata or "{}", type=cls)
        except msgspec.DecodeError:
            return cls()

    def __str__(self) -> str:
        return msgspec.json.encode(self).decode()


def new_epoch() -> str:
    """An id for a epoch that begins now."""
    return uuid4().hex
