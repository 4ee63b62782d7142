"""Whether Elasticsearch answers: what readiness asks, and whoever waits for the end of an outage.

Learned from the requests themselves, and by asking when idle.
"""

import threading
import time
from collections.abc import Callable

from fleetgauge.elasticsearch.transport import Answer, Bulk
from fleetgauge.errors import FleetgaugeError

_AWAY = (502, 503, 504)
_SILENT_S = 30.0
_OUTAGE_S = 1.0
"""What ends sooner is no outage: of two requests at a time, one may fail again and again and the other never."""


class WatchedBulk:
    """Forwards requests and remembers how the last one ended. Thread-safe."""

    def __init__(self, bulk: Bulk, monotonic: Callable[[], float] = time.monotonic, *, idle_s: float = 5.0) -> None:
        """`idle_s`: after so long without a request it asks one of its own, once `keep_asking` was called."""
        self._bulk = bulk
        self._idle_s = idle_s
        self._monotonic = monotonic
        self._wrong: str | None = "Elasticsearch has not answered yet"
        self._since = self._ended = monotonic()
        self.on_return: Callable[[], None] = lambda: None
        """Called by the thread that gets the first answer after an outage; must not block."""
        self._open: dict[int, float] = {}
        self._closed = threading.Event()

    def request(self, method: str, path: str, body: bytes | None) -> Answer:
        """See `Bulk.request`."""
        thread = threading.get_ident()
        self._open[thread] = self._monotonic()
        try:
            answer = self._bulk.request(method, path, body)
            self._note(f"Elasticsearch answers {answer.status}" if answer.status in _AWAY else None)
            return answer
        except FleetgaugeError as error:
            self._note(str(error))
            raise
        finally:
            del self._open[thread]
            self._ended = self._monotonic()

    def _note(self, wrong: str | None) -> None:
        before, self._wrong = self._wrong, wrong
        if before is None:
            self._since = self._monotonic()
        elif wrong is None and self._monotonic() - self._since >= _OUTAGE_S:
            self.on_return()

    def wrong(self) -> str | None:
        """What is wrong with the last request, or with one that hangs; None when all is well. Never blocks."""
        waiting = self._monotonic() - min(self._open.copy().values(), default=self._monotonic())
        return f"Elasticsearch has not answered for {waiting:.0f} s" if waiting > _SILENT_S else self._wrong

    def ask(self) -> None:
        """Ask something small, unless a request is under way or has just ended. Blocks for a request; never raises."""
        if not self._open and self._monotonic() - self._ended >= self._idle_s:
            try:
                self.request("HEAD", "/_alias/fleetgauge", None)  # 404, or 403, is an answer too
            except FleetgaugeError:
                return

    def keep_asking(self) -> None:
        """Ask whenever nothing else does until `close`, in a thread of its own: a quiet consumer notices too."""

        def work() -> None:
            while not self._closed.wait(self._idle_s):
                self.ask()

        threading.Thread(target=work, name="elasticsearch-reachable", daemon=True).start()

    def close(self) -> None:
        """Ask no more."""
        self._closed.set()
