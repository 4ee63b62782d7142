"""One command at a time starts or stops the stack of a home."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleetgauge.errors import Transient
from fleetlab.stack import layout

_WAIT_S = 120


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Hold the lock of a home, which the system releases when its holder dies. Blocks; raises `Transient` at last."""
    deadline = time.monotonic() + _WAIT_S
    while True:
        # Each time, and even then it may be gone: the holder before us may delete the stack with its lock.
        path = layout.make_run(home) / "lock"
        try:
            lock = path.open("a+", encoding="ascii")
        except FileNotFoundError:
            continue
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.exists() and path.stat().st_ino == os.fstat(lock.fileno()).st_ino:
                    lock.truncate(0)
                    lock.write(str(os.getpid()))
                    lock.flush()
                    yield
                    return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    lock.seek(0)
                    raise Transient(
                        f"another command (pid {lock.read().strip()}) has been starting or stopping {home} for "
                        f"{_WAIT_S} s; wait for it or end it, and try again"
                    ) from None
                time.sleep(0.1)
