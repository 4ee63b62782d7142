"""Production's own heartbeat job."""

import threading
from types import TracebackType

import psycopg


class Heartbeat:
    """Calls `fleetgauge_beat()` on the primary every `every_s` seconds, from a thread of its own, until stopped.

    Use it as a context manager around all that writes to the primary, and as long as somebody rolls up. It outlives a
    primary that is away or not yet set up: `error` then says why the last heartbeat failed.
    """

    def __init__(self, primary_url: str, every_s: float = 2.0) -> None:
        """`primary_url` is the app's login. The clock that counts is the database's."""
        self._url, self._every = primary_url, every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self.written = 0
        self.error: str | None = None

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the thread; blocks for as long as one heartbeat takes."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with psycopg.connect(
                    self._url, autocommit=True, connect_timeout=5, application_name="scooter-heartbeat"
                ) as connection:
                    self._write(connection)
            except psycopg.Error as error:
                self.error = str(error)
                self._stop.wait(self._every)

    def _write(self, connection: psycopg.Connection) -> None:
        while not self._stop.is_set():
            connection.execute("SELECT fleetgauge_beat()")
            self.written += 1
            self.error = None
            self._stop.wait(self._every)
