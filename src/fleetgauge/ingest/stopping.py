"""A request to stop: asked once, everything ends in good order; asked twice, nothing is waited for any more."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


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
