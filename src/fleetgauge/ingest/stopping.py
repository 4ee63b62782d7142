"""A request to stop: asked once, everything ends in good order; asked twice, nothing is waited for any more."""

import math
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator
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
def on_signals(
    request: StopRequest, give_up: Callable[[], None] | None = None, within_s: float = math.inf
) -> Iterator[None]:
    """SIGTERM and SIGINT ask for a good end while the block runs; only in the main thread, else nothing changes.

    `give_up` is called in the main thread, wherever that is, when a signal comes again (the other one does not count:
    Ctrl-C reaches a whole group of processes, whose parent then sends SIGTERM too), and each time that the block has
    not ended `within_s` after a signal. It may raise.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    overdue: list[threading.Timer] = []
    seen = set[int]()

    def handle(number: int, _frame: FrameType | None) -> None:
        again = number in seen
        seen.add(number)
        request.ask()
        if give_up is None:
            return
        if within_s < math.inf:
            for one in overdue:
                one.cancel()
            overdue[:] = [threading.Timer(within_s, os.kill, [os.getpid(), number])]
            overdue[0].daemon = True
            overdue[0].start()
        if again:
            give_up()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for one in overdue:
            one.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def until_over(work: Collection[Future[Any]]) -> None:
    """Wait until all of it is done, or the first fails; signals are handled within half a second meanwhile."""
    while True:
        done, rest = wait(work, timeout=_TURN_S, return_when=FIRST_EXCEPTION)
        if not rest or any(one.exception() is not None for one in done):
            return
