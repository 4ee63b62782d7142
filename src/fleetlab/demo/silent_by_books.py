"""Which devices are silent by their own period, worked out from the books and not by the pipeline's SQL."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from math import ceil, floor

DAY = timedelta(days=1)
DAY_S = DAY.total_seconds()
USUAL_DAYS = 14
LEAST_S = 3600
TIMES = 3

Reports = Mapping[datetime, Mapping[str, tuple[int, int]]]
"""Start of a day (of a city without summer time) → device → how many reports, and when the last was, in ms."""


@dataclass(frozen=True)
class Silence:
    """A device that is silent at a day's end. Lengths are seconds."""

    device: str
    heard_ms: int
    quiet_s: int
    period_s: int
    usual_reports: float


def silent(reports: Reports, day: datetime) -> list[Silence]:
    """Who has been quiet for three times its own period, and for an hour at least, when a day ends; in no order."""
    usual: dict[str, list[tuple[datetime, int, int]]] = defaultdict(list)
    for earlier in sorted(one for one in reports if day - USUAL_DAYS * DAY <= one < day):
        for device, (count, heard_ms) in reports[earlier].items():
            usual[device].append((earlier, count, heard_ms))
    today, end_ms, found = reports.get(day, {}), _ms(day + DAY), []
    for device, days in usual.items():
        mean = sum(count for _, count, _ in days) / len(days)
        rests = [(_ms(after) - heard) / 1000 for (_, _, heard), (after, _, _) in pairwise(days)]
        # Of one day alone it is known how long it was quiet until its end.
        rest = _third_quarter(rests) if rests else (_ms(days[0][0] + DAY) - days[0][2]) / 1000
        period = max(DAY_S / mean, rest)
        heard_ms = today[device][1] if device in today else max(heard for _, _, heard in days)
        quiet_s = _rounded((end_ms - heard_ms) / 1000)
        if quiet_s >= max(TIMES * period, LEAST_S):
            found.append(Silence(device, heard_ms, quiet_s, _rounded(period), mean))
    return found


def _third_quarter(values: Iterable[float]) -> float:
    """The least of them that at least three in four do not exceed."""
    ranked = sorted(values)
    return ranked[ceil(0.75 * len(ranked)) - 1]


def _rounded(number: float) -> int:
    """Half up, as Postgres rounds what is not negative."""
    return floor(number + 0.5)


def _ms(instant: datetime) -> int:
    return round(instant.timestamp() * 1000)
