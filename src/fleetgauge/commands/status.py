"""What a command attempt's clocks, result and deadline say about its outcome.

Python twin of the SQL function `fleetgauge.command_status`, which decides in the pipeline; a test holds the two equal.
Rules and reasons: docs/commands.md.
"""

from datetime import datetime
from typing import Literal

Result = Literal["succeeded", "failed", "rejected"]
Status = Literal["queued", "sent", "delivered", "succeeded", "failed", "rejected", "timed_out", "expired"]

OPEN: tuple[Status, ...] = ("queued", "sent", "delivered")
UNSUCCESSFUL: tuple[Status, ...] = ("failed", "rejected", "timed_out", "expired")


def command_status(
    sent_at: datetime | None,
    delivered_at: datetime | None,
    responded_at: datetime | None,
    result: Result | None,
    deadline_at: datetime,
    as_of: datetime,
) -> Status:
    """Status of an attempt; all times are the server's (UTC), `as_of` an instant before which everything is known.

    A deadline has passed only when it lies *before* `as_of`: an answer at the very instant of the deadline is in time.
    """
    if responded_at is not None and result is not None:
        return result if responded_at <= deadline_at else "timed_out"
    if deadline_at < as_of:
        return "expired" if sent_at is None and delivered_at is None else "timed_out"
    if delivered_at is not None:
        return "delivered"
    return "sent" if sent_at is not None else "queued"


def is_late_success(responded_at: datetime | None, result: Result | None, deadline_at: datetime) -> bool:
    """Whether the device did what it was told, but answered too late; the status stays `timed_out`."""
    return responded_at is not None and responded_at > deadline_at and result == "succeeded"
