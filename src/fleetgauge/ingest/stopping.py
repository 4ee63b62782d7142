"""A request to stop: asked once, everything ends in good order; asked twice, nothing is waited for any more."""

import signal
import threading
from collections.abc import Collection, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import contextmanager
from types import FrameType
from typing import Any

_TURN_S = 0.5
"""A signal that comes in the moment before the main thread blocks is handled when it wakes: it sleeps no longer."""


class StopRequest:
    """Shared by all that has to end together; any thread may ask or look."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.hurry = threading.Event()
        """Asked again."""

    def ask(self) -> None:
        """Ask; the second time says that it is urgent. Never blocks."""
        if self.asked.is_set():
            self.hurry.set()
        self.asked.set()


@contextmanager
def on_signals(request: StopRequest) -> Iterator[None]:
    """SIGTERM and SIGINT ask for a good end while the block runs; only in the main thread, else nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        request.ask()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def until_over(work: Collection[Future[Any]]) -> None:
    """Wait until all of it is done, or the first fails; signals are handled within half a second meanwhile."""
    while True:
        done, rest = wait(work, timeout=_TURN_S, return_when=FIRST_EXCEPTION)
        if not rest or any(one.exception() is not None for one in done):
            return
