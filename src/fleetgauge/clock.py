"""The clock as a port, so that a test can hold time still."""

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall-clock time; called from any thread, never blocks."""

    def now(self) -> datetime:
        """The current instant, aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The current instant, aware, in UTC."""
        return datetime.now(UTC)
