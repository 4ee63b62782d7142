"""Who is silent by its own period, in cases that one can work out by hand."""

from datetime import UTC, datetime, timedelta

import pytest

from fleetlab.demo.silent_by_books import DAY, Reports, Silence, silent

TODAY = datetime(2026, 11, 20, 15, tzinfo=UTC)
HOUR_MS = 3_600_000


def ms(instant: datetime) -> int:
    return round(instant.timestamp() * 1000)


def days(*reported: tuple[int, int, float]) -> Reports:
    """Of one device: days before TODAY, number of reports, and the hour of the last."""
    found: dict[datetime, dict[str, tuple[int, int]]] = {TODAY: {}}
    for before, count, hour in reported:
        day = TODAY - before * DAY
        found[day] = {"d1": (count, ms(day) + round(hour * HOUR_MS))}
    return found


def test_who_reports_all_day_and_stops_at_noon_is_silent() -> None:
    reports = days((2, 1440, 24), (1, 1440, 24), (0, 700, 12))
    (found,) = silent(reports, TODAY)
    assert found == Silence("d1", ms(TODAY) + 12 * HOUR_MS, 12 * 3600, 60, 1440)


@pytest.mark.parametrize(
    "reported",
    [
        ((2, 1440, 24), (1, 1440, 24), (0, 700, 23.5)),  # for less than an hour
        ((3, 1, 12), (2, 1, 12), (1, 1, 12)),  # once a day, and not today yet: a day and a half
        ((20, 100, 12),),  # not heard for more than two weeks: no device of ours
    ],
    ids=["short", "seldom", "gone"],
)
def test_who_is_as_quiet_as_ever_is_not(reported: tuple[tuple[int, int, float], ...]) -> None:
    assert silent(days(*reported), TODAY) == []


def test_who_has_not_reported_for_days_is_silent_since_its_last_report() -> None:
    (found,) = silent(days((5, 48, 23), (4, 48, 23)), TODAY)
    assert (found.quiet_s, found.period_s) == (timedelta(days=4, hours=1).total_seconds(), 3600)
