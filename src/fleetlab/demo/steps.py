"""Tells how far the demo is: a spinner on a terminal, a line for each finished step anywhere."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console

from fleetgauge.errors import Transient

_POLL_S = 0.5

T = TypeVar("T")


class Steps:
    """Times the steps. Use from one thread."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.seconds: dict[str, float] = {}
        """Step → how long it took, in order."""
        self._started = time.monotonic()

    @contextmanager
    def step(self, name: str, title: str) -> Iterator[None]:
        """Run a step; `name` is its key in `seconds`, `title` what a reader sees."""
        begun = time.monotonic()
        if not self.console.is_terminal:
            self.tell(f"{title} …")
        with self.console.status(title):
            yield
        self.seconds[name] = took = time.monotonic() - begun
        if self.console.is_terminal:
            self.tell(f"{title}: {took:.0f} s")

    def tell(self, what: str) -> None:
        """Print a line at once; from any thread."""
        now = time.monotonic() - self._started
        self.console.print(f"[{now:5.0f} s] {what}", markup=False, highlight=False)

    @property
    def total(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self._started


def wait_for(what: str, ready: Callable[[], bool], *, timeout_s: float, hint: str, poll_s: float = _POLL_S) -> None:
    """Block until `ready()`, asked every `poll_s` seconds; raises `Transient` with `hint` when time runs out.

    A `Transient` error of `ready` counts as "not yet": a young server may not answer every question at once.
    """
    deadline = time.monotonic() + timeout_s
    last = ""
    while True:
        try:
            if ready():
                return
        except Transient as error:
            last = f" (last: {error})"
        if time.monotonic() > deadline:
            raise Transient(f"{what} did not happen within {timeout_s:.0f} s{last}; {hint}")
        time.sleep(poll_s)


def in_background(name: str, action: Callable[[], T]) -> Future[T]:
    """Run `action` in a thread that nobody waits for when the process ends, unlike those of an executor.

    After a failure it may be waiting for a server that is gone.
    """
    outcome: Future[T] = Future()

    def work() -> None:
        try:
            outcome.set_result(action())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=work, name=name, daemon=True).start()
    return outcome
