"""Opens a connection in a thread, while its owner asks another server: a handshake takes as long as many questions."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Generic, Protocol, TypeVar


class _Closes(Protocol):
    def close(self) -> None: ...


_T = TypeVar("_T", bound=_Closes)


class Connecting(Generic[_T]):
    """At most one connection on its way. Its owner's methods belong to one thread."""

    def __init__(self) -> None:
        self._coming: Future[_T] | None = None

    def begin(self, connect: Callable[[], _T]) -> None:
        """Call `connect` in a thread that holds up no end of the process, unless one is on its way already."""
        if self._coming is None:
            self._coming = Future()
            threading.Thread(target=_open, args=[connect, self._coming], name="connect", daemon=True).start()

    def take(self) -> _T | None:
        """The connection, None if none was begun; blocks until it is there, and raises what `connect` has raised.

        Whoever is interrupted meanwhile, or gets an error, drops it.
        """
        if self._coming is None:
            return None
        found = self._coming.result()
        self._coming = None
        return found

    def drop(self) -> None:
        """Nobody wants it any more: close it, now or when it comes. Does not block, and never raises."""
        if self._coming is not None:
            self._coming.add_done_callback(_close)
            self._coming = None


def _open(connect: Callable[[], _T], coming: "Future[_T]") -> None:
    try:
        coming.set_result(connect())
    except BaseException as error:  # is raised where the connection is wanted
        coming.set_exception(error)


def _close(found: "Future[_T]") -> None:
    if found.exception() is None:
        with suppress(Exception):
            found.result().close()
