"""Ends the demo when a process that it needs is gone, whatever it waits for at that moment."""

import signal
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType, TracebackType

from fleetlab.stack import layout
from fleetlab.stack.processes import Processes, failure

EVERY_S = 1.0
AGAIN_S = 0.2


class Watch:
    """Looks every second; when an expected process has ended, raises `Terminal` in the main thread.

    Use it as a context manager in the main thread. The error arrives as a signal (SIGUSR1), so it also interrupts a
    wait for a server that would go on asking for minutes.
    """

    def __init__(self, home: Path, tell: Callable[[str], None]) -> None:
        """`tell` hears at once what has ended, from another thread; the error waits until the rest is stopped."""
        folders = layout.find(home)
        self._processes, self._logs = Processes(folders), folders.logs
        self._tell = tell
        self._expected: frozenset[str] = frozenset()
        self._gone: list[str] = []
        self._stop = threading.Event()
        self._heard = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._before: signal._HANDLER = None

    def __enter__(self) -> "Watch":
        self._before = signal.signal(signal.SIGUSR1, self._raise)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        signal.signal(signal.SIGUSR1, self._before)

    def expect(self, names: Iterable[str] = ()) -> None:
        """From now on all processes of the stack that live, and those named, must go on living."""
        alive = {name for name in self._processes.names() if self._processes.pid(name) is not None}
        self._expected |= alive | set(names)

    def _run(self) -> None:
        while not self._stop.wait(EVERY_S):
            self._gone = sorted(name for name in self._expected if self._processes.pid(name) is None)
            if self._gone:
                self._tell(f"{', '.join(self._gone)} has ended: the demo cannot go on")
                # Until it is heard: one that comes in the moment before the main thread falls asleep wakes nobody.
                while not self._stop.is_set() and not self._heard.is_set():
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
                    self._heard.wait(AGAIN_S)
                return

    def _raise(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self._stop.is_set() or self._heard.is_set():
            return  # the demo is over, or ends for this
        self._heard.set()
        first, *others = self._gone
        also = f" ({', '.join(others)} too)" if others else ""
        raise failure(first, f"has ended while the demo needed it{also}", self._logs / f"{first}.log")
