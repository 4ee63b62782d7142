"""Whether Elasticsearch answers: what readiness asks. Learned from the requests themselves, and by asking when idle."""

import threading
import time
from collections.abc import Callable

from fleetgauge.errors import FleetgaugeError
from fleetgauge.ingest.sink import Answer, Bulk

_AWAY = (502, 503, 504)
_SILENT_S = 30.0
_IDLE_S = 5.0


class WatchedBulk:
    """Passes requests on and remembers how the last one ended. Thread-safe."""

    def __init__(self, bulk: Bulk, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._bulk = bulk
        self._monotonic = monotonic
        self._wrong: str | None = "Elasticsearch has not answered yet"
        self._ended = monotonic()
        self._open: dict[int, float] = {}
        self._closed = threading.Event()

    def request(self, method: str, path: str, body: bytes | None) -> Answer:
        """See `Bulk.request`."""
        thread = threading.get_ident()
        self._open[thread] = self._monotonic()
        try:
            answer = self._bulk.request(method, path, body)
            self._wrong = f"Elasticsearch answers {answer.status}" if answer.status in _AWAY else None
            return answer
        except FleetgaugeError as error:
            self._wrong = str(error)
            raise
        finally:
            del self._open[thread]
            self._ended = self._monotonic()

    def wrong(self) -> str | None:
        """What is wrong with the last request, or with one that hangs; None when all is well. Never blocks."""
        waiting = self._monotonic() - min(self._open.copy().values(), default=self._monotonic())
        return f"Elasticsearch has not answered for {waiting:.0f} s" if waiting > _SILENT_S else self._wrong

    def ask(self) -> None:
        """Ask something small, unless a request is under way or has just ended. Blocks for a request; never raises."""
        if not self._open and self._monotonic() - self._ended >= _IDLE_S:
            try:
                self.request("HEAD", "/_alias/fleetgauge", None)  # 404, or 403, is an answer too
            except FleetgaugeError:
                return

    def keep_asking(self) -> None:
        """Ask whenever nothing else does until `close`, in a thread of its own: a quiet consumer notices too."""

        def work() -> None:
            while not self._closed.wait(_IDLE_S):
                self.ask()

        threading.Thread(target=work, name="elasticsearch-reachable", daemon=True).start()

    def close(self) -> None:
        """Ask no more."""
        self._closed.set()
