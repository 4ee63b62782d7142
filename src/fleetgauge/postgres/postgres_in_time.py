"""A connection whose answers come in time, or it ends.

Keepalives end a connection whose network is gone. They see nothing of a server that is frozen, nor of something in
between (a balancer, a pooler, a tunnel) that holds the connection and forwards nothing: for these the driver would wait
for ever. A statement's limit is kept by the server, which may be what is silent, so it is kept here too; and where a
statement may take as long as it needs, the server is asked over another connection whether it is still at work.
"""

import re
import time
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, TypeVar

import psycopg
from psycopg.errors import ConnectionTimeout, _WaitTimeout  # the latter: see `Connection.wait`

_T = TypeVar("_T")

LOOK_S = 60.0
"""After so long without the end of an answer the server is asked: as long as keepalives need."""
PROBE_S = 10.0
"""How long connecting may take for that, and how long the answer."""
PATIENCE_S = 10.0
"""How much longer than a statement may take its answer is waited for."""

_AWAY = re.compile(r"timeout expired|refused|unreachable|No route to host|reset by peer|closed the connection")
"""What libpq says where no server has said anything."""
_AT_WORK = """
SELECT pg_backend_pid(), (
    SELECT state = 'active' OR now() - state_change < make_interval(secs => %s) FROM pg_stat_activity WHERE pid = %s)
"""


class AnswersInTime(psycopg.Connection[tuple[Any, ...]]):
    """Not thread-safe. When an answer is given up it is closed, and raises `ConnectionTimeout`."""

    within_s: float | None = None
    """How long an answer may take, from the request to its last byte; None: as long as the server is at work."""
    another: "Callable[[psycopg.ConnectionInfo], AnswersInTime] | None" = None
    """Opens another connection to where this one leads, within `PROBE_S`."""

    def wait(self, gen: Generator[Any, Any, _T], *args: Any, **kwargs: Any) -> _T:
        """As the driver's."""
        if args or kwargs:  # whoever says how long needs no other limit
            return super().wait(gen, *args, **kwargs)
        began = time.monotonic()
        while True:
            try:
                return super().wait(gen, timeout=LOOK_S if self.within_s is None else self.within_s)
            except _WaitTimeout:
                if self.within_s is None and self._is_at_work():
                    continue
                self.close()
                waited = time.monotonic() - began
                said = f"no answer within {waited:.0f} s, and the connection is given up"
                raise ConnectionTimeout(said) from None

    def _is_at_work(self) -> bool:
        """Whether the server says that it works for this connection; blocks.

        Behind a pooler, whose numbers of backends are its own, it is enough that the server speaks.
        """
        if self.another is None:
            return True
        try:
            with closing(self.another(self.info)) as other:
                row = other.execute(_AT_WORK, [LOOK_S, self.info.backend_pid]).fetchone()
                return row is None or row[0] != other.info.backend_pid or bool(row[1])
        except psycopg.Error as error:
            return _AWAY.search(str(error)) is None and not isinstance(error, ConnectionTimeout)
