"""Quantiles of many merged sketches at once: what `fleetgauge.quantile` gives, without a call for each of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from fleetgauge.rollup.sketches.sketch import estimate

_HEADER = 20
"""Bytes before the elements of a binary array of one dimension."""
_ELEMENT = np.dtype([("length", ">i4"), ("value", ">i8")])


@dataclass(frozen=True)
class Sketches:
    """Sketches, or tallies, end to end; each is numbers, ascending, and how often each occurs."""

    numbers: Any
    """int64: stored buckets of a sketch, values of a tally."""
    running: Any
    """int64: how many there are up to and with each number, over all sketches."""
    ends: Any
    """int64, for each sketch: where its numbers end."""

    @classmethod
    def of(cls, arrays: Sequence[bytes | None]) -> "Sketches":
        """From `bigint[]` as Postgres sends them (`postgres.raw_arrays`); None is an empty one."""
        elements = [b"" if one is None else one[_HEADER:] for one in arrays]
        flat = np.frombuffer(b"".join(elements), dtype=_ELEMENT)["value"].astype(np.int64)
        lengths = np.array([len(one) // _ELEMENT.itemsize for one in elements], dtype=np.int64)
        ends = np.cumsum(lengths)
        within = np.arange(len(flat)) - np.repeat(ends - lengths, lengths)
        first = within < np.repeat(lengths // 2, lengths)
        return cls(flat[first], np.cumsum(flat[~first]), ends // 2)

    def positions(self, q: float) -> list[int | None]:
        """Nearest-rank quantile of each, as the stored number; None of an empty one."""
        upto = np.concatenate([[0], self.running])
        begins = np.concatenate([[0], self.ends[:-1]])
        before = upto[begins]
        counts = upto[self.ends] - before
        share = Fraction(str(q))
        ranks = np.maximum(1, -(-share.numerator * counts // share.denominator))
        there = counts > 0
        found = np.searchsorted(self.running, (before + ranks)[there])
        answer: list[int | None] = [None] * len(self.ends)
        for index, number in zip(np.flatnonzero(there).tolist(), self.numbers[found].tolist(), strict=True):
            answer[index] = number
        return answer

    def values(self, q: float) -> list[float | None]:
        """The same of percentiles: the value that stands for the bucket, within 1 %."""
        found = self.positions(q)
        known = {number: estimate(number) for number in {*found} if number is not None}
        return [None if number is None else known[number] for number in found]
