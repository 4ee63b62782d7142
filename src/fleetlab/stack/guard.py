"""A watchdog that outlives its parent by a moment: when the parent ends, however it ends, the servers are stopped.

The parent holds the write end of a pipe; the system closes it even after `kill -9`. Run as a program of its own, with
nothing imported until then, since it waits for hours beside servers that need the memory.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path


class Guard:
    """The parent's side."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    @classmethod
    def start(cls, home: Path, *, wipe: bool, keep: Collection[str]) -> "Guard":
        """Start a watchdog that, when this process ends, stops all processes of `home` but those named in `keep`."""
        # -P: the folder of this file must not become an import path, it holds modules called like libraries.
        command = [sys.executable, "-P", __file__, str(home), "wipe" if wipe else "leave", *keep]
        log = (home / "logs" / "guard.log").open("ab")
        with log:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd="/", start_new_session=True
            )
        return cls(process)

    def release(self) -> None:
        """Dismiss the watchdog without doing anything."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(b"released")
            self._process.stdin.close()
        self._process.wait()


def main() -> None:
    """The watchdog's side."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    home, wipe, keep = Path(sys.argv[1]), sys.argv[2] == "wipe", sys.argv[3:]
    if os.read(sys.stdin.fileno(), 64):
        return
    from fleetlab.stack import Stack

    Stack(home).clean_up(keep=keep, wipe=wipe)


if __name__ == "__main__":
    main()
