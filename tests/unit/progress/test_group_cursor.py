"""When a reader must read everything again; the servers' part is in the integration tests."""

from datetime import UTC, datetime

import pytest

from fleetgauge.progress.cursor import GroupCursor
from fleetgauge.progress.offsets import GroupProgress, PartitionProgress

NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cursor", "now", "expected"),
    [
        (GroupCursor("t", {0: 5}, epochs={0: "a"}), {0: (9, "a")}, False),
        (GroupCursor("t", {0: 5}, epochs={0: "a"}), {0: (5, "b")}, True),  # rewound, and back where it was
        (GroupCursor("t", {0: 5}, epochs={0: "a"}), {0: (9, "b")}, True),  # and already beyond
        (GroupCursor("t", {0: 5}, epochs={0: "a"}), {0: (4, "a")}, True),  # somebody else set it back
        (GroupCursor("t", {0: 5}, epochs={0: "a"}), {0: (9, "")}, False),  # or forward: nothing was stored meanwhile
        (
            GroupCursor("t", {0: 5}, epochs={0: "a"}),
            {},
            False,
        ),  # expired; the next commits are another epoch
        (GroupCursor("t", {0: 5}), {0: (9, "a")}, True),  # nobody knows what came between
        (GroupCursor("t", {0: 5, 1: 5}, epochs={0: "a", 1: "b"}), {0: (9, "a"), 1: (9, "c")}, True),
        (GroupCursor("t", {0: 5}, epochs={0: "a"}), {0: (9, "a"), 1: (3, "b")}, False),  # a partition is new
        (GroupCursor("t", {0: 0}, epochs={0: "a"}), {0: (9, "b")}, False),  # read from the beginning anyway
        (GroupCursor(), {0: (9, "a")}, False),
        (GroupCursor("other", {0: 5}, epochs={0: "a"}), {0: (9, "a")}, True),
    ],
)
def test_everything_is_read_again_if_an_offset_below_the_cursor_may_be_new(
    cursor: GroupCursor, now: dict[int, tuple[int, str]], expected: bool
):
    partitions = tuple(PartitionProgress(p, 0, offset, offset, None, epoch) for p, (offset, epoch) in now.items())
    assert cursor.began_anew(GroupProgress("topic", "group", "t", NOW, partitions)) is expected
