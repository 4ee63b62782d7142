"""HTTP answers that have a deadline as a whole.

The time-outs of HTTP clients are about single reads: a server, or something in between, that sends a byte a second is
never timed out. Here each read may take only what is left of the answer's time.
"""

import io
import socket
import time
from http.client import HTTPResponse
from typing import Any, cast


def answers_within(seconds: float) -> type[HTTPResponse]:
    """A `response_class` for connections: from its head to its end, an answer takes at most so long.

    Reading one raises `TimeoutError` when the time is up.
    """

    class Response(HTTPResponse):
        def __init__(self, sock: socket.socket, *args: Any, **more: Any) -> None:
            super().__init__(sock, *args, **more)
            raw = self.fp.detach()
            self.fp = io.BufferedReader(_Within(raw, sock, time.monotonic() + seconds))

    return Response


class _Within(io.RawIOBase):
    """Reads from a socket until a deadline."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline: float) -> None:
        self._raw = raw
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer was not complete in time")
        self._sock.settimeout(left)
        return cast("int | None", self._raw.readinto(buffer))

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()
