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
    """One connection on its way. Its owner either takes it or drops it, once."""

    def __init__(self, connect: Callable[[], _T]) -> None:
        """Calls `connect` at once, in a thread that holds up no end of the process."""
        self._found: Future[_T] = Future()
        threading.Thread(target=self._open, args=[connect], name="connect", daemon=True).start()

    def take(self) -> _T:
        """The connection; blocks until it is there, and raises what `connect` has raised."""
        return self._found.result()

    def drop(self) -> None:
        """Nobody wants it any more: close it, now or when it comes. Does not block, and never raises."""
        self._found.add_done_callback(_close)

    def _open(self, connect: Callable[[], _T]) -> None:
        try:
            self._found.set_result(connect())
        except BaseException as error:  # is raised where the connection is wanted
            self._found.set_exception(error)


def _close(found: "Future[_T]") -> None:
    if found.exception() is None:
        with suppress(Exception):
            found.result().close()
