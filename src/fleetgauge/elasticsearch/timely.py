"""Connections on which a whole answer has a deadline.

urllib3's time-outs are about single reads: a server, or something in between, that sends a byte a second is never timed
out. Here each read may take only what is left of the request's time.
"""

import io
import socket
import time
from http.client import HTTPResponse
from typing import Any, cast

from elastic_transport import NodeConfig, Urllib3HttpNode
from urllib3.connection import HTTPConnection, HTTPSConnection


class TimelyNode(Urllib3HttpNode):
    """A node of elastic-transport: from its head to its end, an answer takes at most the request time-out."""

    def __init__(self, config: NodeConfig) -> None:
        super().__init__(config)
        seconds = config.request_timeout or 60.0
        base = HTTPConnection if config.scheme == "http" else HTTPSConnection

        class Response(HTTPResponse):
            def __init__(self, sock: socket.socket, *args: Any, **more: Any) -> None:
                super().__init__(sock, *args, **more)
                raw = self.fp.detach()
                self.fp = io.BufferedReader(_Within(raw, sock, time.monotonic() + seconds))

        self.pool.ConnectionCls = type("TimelyConnection", (base,), {"response_class": Response})


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
