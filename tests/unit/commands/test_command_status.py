from datetime import UTC, datetime, timedelta

import pytest

from fleetgauge.commands.status import OPEN, UNSUCCESSFUL, command_status, is_late_success

REQUESTED = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
DEADLINE = REQUESTED + timedelta(seconds=30)
MS = timedelta(milliseconds=1)
BEFORE, AFTER = DEADLINE - MS, DEADLINE + MS


@pytest.mark.parametrize(
    ("sent", "delivered", "responded", "result", "as_of", "expected"),
    [
        (None, None, None, None, BEFORE, "queued"),
        (REQUESTED, None, None, None, BEFORE, "sent"),
        (REQUESTED, REQUESTED, None, None, BEFORE, "delivered"),
        (None, REQUESTED, None, None, BEFORE, "delivered"),  # the event `sent` is still on its way
        (None, None, None, None, AFTER, "expired"),
        (REQUESTED, None, None, None, AFTER, "timed_out"),
        (REQUESTED, REQUESTED, None, None, AFTER, "timed_out"),
        (None, REQUESTED, None, None, AFTER, "timed_out"),  # an ack proves that it was sent
        (REQUESTED, REQUESTED, BEFORE, "succeeded", AFTER, "succeeded"),
        (REQUESTED, REQUESTED, BEFORE, "failed", AFTER, "failed"),
        (REQUESTED, REQUESTED, BEFORE, "rejected", AFTER, "rejected"),
        (REQUESTED, None, BEFORE, "succeeded", AFTER, "succeeded"),  # lost ack
        (None, None, BEFORE, "succeeded", BEFORE, "succeeded"),  # the answer overtook everything
        (REQUESTED, REQUESTED, AFTER, "succeeded", AFTER, "timed_out"),
        (REQUESTED, REQUESTED, AFTER, "failed", AFTER, "timed_out"),
        (None, None, AFTER, "succeeded", BEFORE, "timed_out"),  # late by the server's own clock, whatever the watermark
        (REQUESTED, REQUESTED, DEADLINE, "succeeded", AFTER, "succeeded"),  # at the deadline is in time …
        (REQUESTED, REQUESTED, None, None, DEADLINE, "delivered"),  # … so at the deadline it has not passed yet
        (None, None, None, None, DEADLINE, "queued"),
    ],
)
def test_status(sent, delivered, responded, result, as_of, expected):
    assert command_status(sent, delivered, responded, result, DEADLINE, as_of) == expected


@pytest.mark.parametrize(
    ("responded", "result", "expected"),
    [
        (None, None, False),
        (DEADLINE, "succeeded", False),
        (AFTER, "succeeded", True),
        (AFTER, "failed", False),
    ],
)
def test_late_success(responded, result, expected):
    assert is_late_success(responded, result, DEADLINE) is expected


def test_every_status_is_open_or_unsuccessful_or_succeeded():
    assert len({*OPEN, *UNSUCCESSFUL, "succeeded"}) == len(OPEN) + len(UNSUCCESSFUL) + 1 == 8
