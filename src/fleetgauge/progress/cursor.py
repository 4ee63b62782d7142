"""How far a reader has followed a consumer group, and what is new since; commands and rollups keep one each.

Time is no cursor (retries, clocks, refreshes); the position that each stored document carries is one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from fleetgauge.progress.offsets import GroupProgress, went_backwards


@dataclass(frozen=True)
class Offsets:
    """Offsets of one partition: `start` is the first wanted, `stop` the first that is not."""

    start: int
    stop: int


@dataclass(frozen=True)
class GroupCursor:
    """What of a group's finished records has been read."""

    topic_id: str | None = None
    offsets: Mapping[int, int] = field(default_factory=dict)
    """Next offset to read, by partition."""
    epochs: Mapping[int, str] = field(default_factory=dict)
    """The epoch (see `progress.commit_note`) that `offsets` belongs to, by partition."""

    @classmethod
    def at(cls, progress: GroupProgress) -> Self:
        """The cursor of who has read all that is finished."""
        return cls(topic_id=progress.topic_id, offsets=progress.committed, epochs=progress.epochs)

    def began_anew(self, progress: GroupProgress) -> bool:
        """Whether documents below the cursor may be new: the topic was made anew, or the group was rewound."""
        if self.topic_id is not None and progress.topic_id is not None and self.topic_id != progress.topic_id:
            return True  # even where the new offsets have already overtaken the old
        if went_backwards(self.offsets, progress.committed):
            return True
        return any(  # it went back, and has caught up since
            self.offsets.get(partition, 0) > 0 and epoch != self.epochs.get(partition)
            for partition, epoch in progress.epochs.items()
        )

    def new(self, progress: GroupProgress) -> dict[int, Offsets]:
        """From the cursor to what is committed, by partition; partitions without anything new are left out."""
        return {
            partition: Offsets(self.offsets.get(partition, 0), committed)
            for partition, committed in progress.committed.items()
            if committed > self.offsets.get(partition, 0)
        }
