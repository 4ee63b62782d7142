"""When and where people ride: the week's rhythm of the city, in Seoul's time."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

CITY_TIME = ZoneInfo("Asia/Seoul")

# Relative demand at the middle of each local hour, 0 to 23.
_WEEKDAY = (
    0.36, 0.22, 0.13, 0.08, 0.08, 0.20, 0.60, 1.35, 2.25, 1.45, 0.92, 0.95,
    1.22, 1.12, 0.98, 1.02, 1.22, 1.75, 2.40, 2.00, 1.42, 1.12, 0.88, 0.60,
)  # fmt: skip
_WEEKEND = (
    0.78, 0.56, 0.36, 0.20, 0.12, 0.11, 0.18, 0.32, 0.55, 0.82, 1.08, 1.30,
    1.50, 1.66, 1.76, 1.80, 1.80, 1.74, 1.62, 1.44, 1.26, 1.12, 1.00, 0.86,
)  # fmt: skip
_WEEKDAY_MEAN = sum(_WEEKDAY) / 24
_WEEKEND_MEAN = sum(_WEEKEND) / 24
_WEEKEND_SHARE = 0.93  # a weekend day has somewhat fewer rides than a working day

# How a zone's pull changes over the day: (hours, factor); outside them 1. Starts of rides, not ends.
_PULL: dict[str, tuple[tuple[range, float], ...]] = {
    "office": ((range(6, 10), 0.55), (range(11, 14), 1.4), (range(17, 20), 1.9), (range(22, 24), 0.6)),
    "home": ((range(6, 10), 2.2), (range(11, 16), 0.7), (range(17, 20), 0.7), (range(20, 24), 1.2)),
    "nightlife": ((range(4), 2.6), (range(6, 11), 0.4), (range(18, 24), 1.8)),
    "campus": ((range(7), 0.5), (range(9, 18), 1.5)),
    "park": ((range(6), 0.4), (range(12, 19), 1.5)),
}
_WEEKEND_PULL = {"office": 0.5, "home": 1.0, "nightlife": 1.4, "campus": 0.6, "park": 2.4}


def local(instant_ms: int) -> datetime:
    """The city's wall clock at an instant (ms since the epoch)."""
    return datetime.fromtimestamp(instant_ms / 1000, UTC).astimezone(CITY_TIME)


def demand(instant_ms: int) -> float:
    """Demand relative to the average of a working day: 1 is average. Changes smoothly between hours."""
    # The curve is given at the middle of each hour, so half an hour back is where interpolation begins.
    at = local(instant_ms - 1_800_000)
    share = at.minute / 60 + at.second / 3600
    here, there = _level(at.weekday(), at.hour), _level(at.weekday() + (at.hour == 23), (at.hour + 1) % 24)
    return here * (1 - share) + there * share


def _level(weekday: int, hour: int) -> float:
    if weekday % 7 >= 5:
        return _WEEKEND[hour] / _WEEKEND_MEAN * _WEEKEND_SHARE
    return _WEEKDAY[hour] / _WEEKDAY_MEAN


def pull(kind: str, instant_ms: int) -> float:
    """How strongly a zone of this kind draws ride starts at this time, 1 being usual."""
    at = local(instant_ms)
    factor = next((f for hours, f in _PULL[kind] if at.hour in hours), 1.0)
    return factor * (_WEEKEND_PULL[kind] if at.weekday() >= 5 else 1.0)
