"""Connections on which a whole answer has a deadline.

The driver's time-outs are about single reads: a server, or something in between, that sends a byte a second is never
timed out. Here each read may take only what is left of the answer's time, which begins with its request.
"""

import socket
import ssl
import time
from dataclasses import dataclass
from typing import Any

import pymysql
from pymysql.constants import CR


@dataclass
class Limit:
    """How long any answer on one connection may take, in seconds; may change while it is open."""

    seconds: float


class InTime(socket.socket):
    """A connection. Raises `TimeoutError` for an answer that is not complete in time."""

    limit: Limit
    _until: float | None = None

    def sendall(self, data: Any, flags: int = 0) -> None:
        """As the parent's; a request begins."""
        self._until = time.monotonic() + self.limit.seconds
        super().sendall(data, flags)

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """As the parent's, in what is left of the time."""
        if self._until is None:  # the server speaks first
            self._until = time.monotonic() + self.limit.seconds
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer was not complete in time")
        self.settimeout(left)
        return super().recv_into(*args, **kwargs)


class EncryptedInTime(InTime, ssl.SSLSocket):
    """The same with TLS."""


def dial(host: str, port: int, limit: Limit) -> InTime:
    """Connect within the limit's time to each of the host's addresses; blocks. Raises `pymysql.OperationalError`."""
    try:
        plain = socket.create_connection((host, port), limit.seconds)
    except OSError as error:
        said = f"Can't connect to MySQL server on {host!r} ({error})"
        raise pymysql.OperationalError(CR.CR_CONN_HOST_ERROR, said) from error
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    timely = InTime(fileno=plain.detach())
    timely.limit = limit
    return timely


def encrypted(context: ssl.SSLContext, limit: Limit) -> ssl.SSLContext:
    """The context, whose connections answer in time from now on."""
    context.sslsocket_class = type("EncryptedInTime", (EncryptedInTime,), {"limit": limit})
    return context
