"""When a fold must read everything again; the servers' part is in the integration tests."""

from datetime import UTC, datetime

import pytest

from fleetgauge.commands.fold import _made_anew
from fleetgauge.commands.store import Cursor
from fleetgauge.progress.offsets import GroupProgress, PartitionProgress

NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cursor", "now", "expected"),
    [
        (Cursor("t", {0: 5}, readings={0: "a"}), {0: (9, "a")}, False),
        (Cursor("t", {0: 5}, readings={0: "a"}), {0: (5, "b")}, True),  # rewound, and back where it was
        (Cursor("t", {0: 5}, readings={0: "a"}), {0: (9, "b")}, True),  # and already beyond
        (Cursor("t", {0: 5}, readings={0: "a"}), {0: (4, "a")}, True),  # somebody else set it back
        (Cursor("t", {0: 5}, readings={0: "a"}), {0: (9, "")}, False),  # or forward: nothing was stored meanwhile
        (Cursor("t", {0: 5}, readings={0: "a"}), {}, False),  # the commits have expired; the next are another reading
        (Cursor("t", {0: 5}), {0: (9, "a")}, True),  # nobody knows what came between
        (Cursor("t", {0: 5, 1: 5}, readings={0: "a", 1: "b"}), {0: (9, "a"), 1: (9, "c")}, True),
        (Cursor("t", {0: 5}, readings={0: "a"}), {0: (9, "a"), 1: (3, "b")}, False),  # a partition is new
        (Cursor("t", {0: 0}, readings={0: "a"}), {0: (9, "b")}, False),  # read from the beginning anyway
        (Cursor(), {0: (9, "a")}, False),
        (Cursor("other", {0: 5}, readings={0: "a"}), {0: (9, "a")}, True),
    ],
)
def test_everything_is_read_again_if_an_offset_below_the_cursor_may_be_new(
    cursor: Cursor, now: dict[int, tuple[int, str]], expected: bool
):
    partitions = tuple(PartitionProgress(p, 0, offset, offset, None, reading) for p, (offset, reading) in now.items())
    assert _made_anew(cursor, GroupProgress("topic", "group", "t", NOW, partitions)) is expected
