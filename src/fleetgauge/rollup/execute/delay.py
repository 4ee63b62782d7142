"""How long changes take until their numbers can be read: measured by every run, without rows made for it.

A look at a source shows every change before its source watermark. So what lies between the watermark of the run before
and this run's becomes readable when this run's transactions are through, and each instant of that stretch waited from
then until now. The watermark is the primary's own heartbeat, or of documents the append time in Kafka, so the wait
begins with the commit or the append. It is an upper bound: a look may show changes beyond its watermark, which then
were readable earlier than is counted. Every second of the source's time weighs the same, also a second without a
change: what is told is how long a change *would* have taken, at whatever moment it came.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from math import inf

BOUNDS = (1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 45.0, 55.0, 65.0, 90.0, 120.0, 300.0, 900.0, 3600.0, inf)
"""Upper bounds of the histogram's buckets, in seconds; a number was promised at 10 and at 65."""


@dataclass(frozen=True)
class Delay:
    """Changes that one run made readable: they waited evenly from `least_s` to `most_s` seconds.

    A second of the source's time is one observation, so there are `most_s - least_s` of them.
    """

    least_s: float
    most_s: float

    @property
    def seconds(self) -> float:
        """How much of the source's time it is."""
        return self.most_s - self.least_s

    @property
    def sum_s(self) -> float:
        """The sum over all observations."""
        return self.seconds * (self.least_s + self.most_s) / 2

    def buckets(self) -> Mapping[float, float]:
        """Upper bound → seconds of the source's time that waited so long, and longer than the bound below."""
        found, below = {}, 0.0
        for bound in BOUNDS:
            part = min(self.most_s, bound) - max(self.least_s, below)
            if part > 0:
                found[bound] = part
            below = bound
        return found


def delay_of(known: datetime | None, watermark: datetime | None, readable: datetime | None) -> Delay | None:
    """The delay of what lies between two watermarks, readable from an instant on (all aware).

    None where nothing is new: before a first run, whose changes are history, and where a clock was set back. A source
    that is ahead of the other clocks counts as no delay.
    """
    if known is None or watermark is None or readable is None or watermark <= known:
        return None
    least = max(0.0, (readable - watermark).total_seconds())
    return Delay(least, least + (watermark - known).total_seconds())
