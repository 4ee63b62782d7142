"""The connection that a metric is written through, one transaction at a time under the metric's lock."""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

from fleetgauge.errors import Transient
from fleetgauge.postgres import Connection, Error, errors
from fleetgauge.postgres.postgres_errors import translate
from fleetgauge.postgres.schema_revision import check
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.execute.options import RunOptions
from fleetgauge.rollup.sources.port import Row

Connect = Callable[[], Connection[Row]]
"""Opens a connection to the metrics database; a port, so that a test may break it between any two statements."""


class Reconnecting:
    """One connection for many metrics and the run log, opened when first needed, and anew once it is closed.

    A new connection costs a handshake and what the server loads for it: more than a metric in which little changed.
    """

    def __init__(self, connect: Connect) -> None:
        self._open = connect
        self._connection: Connection[Row] | None = None
        self._asked: set[Hashable] = set()

    def connect(self) -> Connection[Row]:
        """The connection, which the caller may close but need not. Blocks where it is opened; raises as that does."""
        if self._connection is None or self._connection.closed:
            self._connection = self._open()
            self._asked.clear()
        return self._connection

    def first(self, what: Hashable) -> bool:
        """Whether this connection is asked `what` for the first time: of what its server's process never changes."""
        found = what not in self._asked
        self._asked.add(what)
        return found

    def clear(self) -> None:
        """Drop the temporary tables of one metric: the next one's have other columns. Blocks; never raises."""
        if self._connection is not None and not self._connection.closed:
            try:
                self._connection.execute("DISCARD TEMP")
            except Error:
                self._connection.close()

    def close(self) -> None:
        """Give it back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


_KEY = "hashtextextended('fleetgauge rollup ' || %s, 0)"


def lock(connection: Connection[Row], metric: str) -> None:
    """Wait until no other worker computes the metric, whatever its version; held until the transaction ends.

    Raises `Terminal` when the database is of another release than this worker.
    """
    if not check(connection, f"pg_try_advisory_xact_lock({_KEY})", [metric]):
        connection.execute(f"SELECT pg_advisory_xact_lock({_KEY})", [metric])
        check(connection)  # it may have been migrated meanwhile


class Session:
    """Of one metric, whatever its version, on a connection that others may use between; not thread-safe."""

    def __init__(self, definition: Definition, connection: Reconnecting, options: RunOptions) -> None:
        self._definition = definition
        self._options = options
        self._connection = connection

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()

    def first(self, what: Hashable) -> bool:
        """See `Reconnecting.first`."""
        return self._connection.first(what)

    @contextmanager
    def locked(self) -> Iterator[Connection[Row]]:
        """One transaction; waits until no other worker computes the metric. Raises as all of the metrics database."""
        with self.reading() as connection, connection.transaction():
            lock(connection, self._definition.metric)
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection[Row]]:
        """Without a transaction or the lock, for single questions. Raises as all of the metrics database."""
        try:
            yield self._connection.connect()
        except errors.LockNotAvailable as error:
            self.close()
            raise Transient(
                f"another worker holds metric {self._definition.metric} for more than "
                f"{self._options.lock_timeout_s:.0f} s; this one leaves it alone until the next run"
            ) from error
        except Error as error:
            self.close()
            raise translate(error, "the metrics database", "metrics.url", "run fleetgauge migrate") from error
        except BaseException:
            self.close()
            raise
