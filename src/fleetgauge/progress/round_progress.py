"""Where consumer groups stand, asked once for all metrics of a round.

Asking takes a connection to Kafka, and a fetch from each partition that is not read to its end: tenths of a second,
for each look of each metric. An older answer is a careful one: what is stored since is taken up by the next round.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, Self

from fleetgauge.errors import Conflict

if TYPE_CHECKING:
    from fleetgauge.progress.offsets import GroupProgress

KEPT_S = 5.0
"""After so long it is asked anew within a round too: one may hold a long run."""
_Read = Callable[[], "dict[str, GroupProgress]"]


class RoundProgress:
    """The last answer. State of one loop; not shared between threads."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._known: tuple[float, dict[str, GroupProgress]] | None = None

    @property
    def kept(self) -> bool:
        """Whether there is an answer that an earlier look has asked for."""
        return self._known is not None

    def forget(self) -> None:
        """A round begins."""
        self._known = None

    def of(self, read: _Read) -> "tuple[dict[str, GroupProgress], Self | None]":
        """The answer of this round, and itself where an earlier look has asked. Raises what `read` does, which asks."""
        if self._known is None or self._monotonic() - self._known[0] > KEPT_S:
            asked = self._monotonic()
            self._known = asked, read()
            return self._known[1], None
        return self._known[1], self

    def doubt(self, source: str) -> NoReturn:
        """The answer contradicts what is known, and is older than that may be. Raises `Conflict`: ask anew."""
        self.forget()
        raise Conflict(f"source {source}: another worker has come further than this round has asked; it asks anew")
