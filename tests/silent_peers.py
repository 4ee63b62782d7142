"""Peers that take a connection and then are silent: from the beginning, nearly, or from some moment on."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


class Peers:
    """A listener and what came of it; all of its connections close at the end."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self.server.getsockname()[1]
        self.over = threading.Event()
        self._open: list[socket.socket] = []

    def keep(self, connection: socket.socket) -> socket.socket:
        self._open.append(connection)
        return connection

    def start(self, target: object, *args: object) -> None:
        def quiet() -> None:
            with contextlib.suppress(OSError):
                target(*args)  # type: ignore[operator]

        threading.Thread(target=quiet, daemon=True).start()

    def close(self) -> None:
        self.over.set()
        for one in (self.server, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@contextmanager
def silent_peer(at_once: bytes = b"", slowly: bytes = b"", every_s: float = 0.02) -> Iterator[int]:
    """The port of a listener that says `at_once`, then `slowly` a byte every `every_s` seconds, then nothing."""
    peers = Peers()

    def accept() -> None:
        while True:
            peers.start(speak, peers.keep(peers.server.accept()[0]))

    def speak(client: socket.socket) -> None:
        client.sendall(at_once)
        for byte in slowly:
            if peers.over.wait(every_s):
                return
            client.sendall(bytes([byte]))

    peers.start(accept)
    try:
        yield peers.port
    finally:
        peers.close()


@contextmanager
def frozen(port: int) -> Iterator[None]:
    """Whoever listens on this port stands still meanwhile: connections stay open, and nobody answers."""
    (pid,) = {
        one.pid
        for one in psutil.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN and one.laddr.port == port and one.pid is not None
    }
    server = psutil.Process(pid)
    server.suspend()
    try:
        yield
    finally:
        server.resume()


class Relay:
    """Passes everything on to a port of this machine, until it is told to be silent: then nothing, both ways, and no
    connection ends."""

    def __init__(self, port: int) -> None:
        self._peers, self._to = Peers(), port
        self._speaks = threading.Event()
        self._speaks.set()
        self.port = self._peers.port

    def __enter__(self) -> "Relay":
        self._peers.start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._peers.close()

    def silence(self, *, newcomers: bool = True) -> None:
        """From now on; unless told otherwise, new connections too, which are taken."""
        self._speaks.clear()
        if not newcomers:
            self._speaks = threading.Event()
            self._speaks.set()

    def speak(self) -> None:
        """Again; what was held back arrives."""
        self._speaks.set()

    def _accept(self) -> None:
        while True:
            client = self._peers.keep(self._peers.server.accept()[0])
            self._peers.start(self._connect, client, self._speaks)

    def _connect(self, client: socket.socket, speaks: threading.Event) -> None:
        speaks.wait()
        server = self._peers.keep(socket.create_connection(("127.0.0.1", self._to)))
        self._peers.start(self._pass_on, client, server, speaks)
        self._pass_on(server, client, speaks)

    def _pass_on(self, source: socket.socket, target: socket.socket, speaks: threading.Event) -> None:
        while data := source.recv(65536):
            speaks.wait()
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
