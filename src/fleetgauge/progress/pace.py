"""How much work one transaction takes: a quarter when the source breaks off, double while little comes of it."""

import time
from collections.abc import Callable

from fleetgauge.errors import Transient

LARGEST = 64 * 1440


class Pace:
    """The size of the next piece, at least 1. State of one loop; not shared."""

    def __init__(
        self, size: int, rows_aimed: int, tries: int, pause_s: float, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.size = size
        self._rows_aimed = rows_aimed
        self._tries = tries
        self._pause_s = pause_s
        self._sleep = sleep
        self._failures = 0

    def failed(self, error: Transient) -> None:
        """Take a quarter, wait; raises `error` when it failed too often in a row."""
        self._failures += 1
        if self._failures >= self._tries:
            raise error
        self.size = max(1, self.size // 4)
        self._sleep(self._pause_s * 2 ** (self._failures - 1))

    def succeeded(self, rows: int) -> None:
        """Adapt to the rows that the piece gave."""
        self._failures = 0
        if rows > self._rows_aimed:
            self.size = max(1, self.size // 2)
        elif rows < self._rows_aimed // 2:
            self.size = min(LARGEST, self.size * 2)
