"""Which days are judged, and why."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from fleetgauge.fleet.suspect_days import WINDOW_DAYS, DayState, Deferred, Work, bounds, plan, reachable

SEOUL = ZoneInfo("Asia/Seoul")
DAY = date(2026, 11, 20)
STATE = DayState(1_000, 50, datetime(2026, 11, 20, 18, tzinfo=UTC), "m1")
LATER = {"trips": datetime(2026, 11, 22, tzinfo=UTC), "documents": datetime(2026, 11, 22, tzinfo=UTC)}


def one(known: DayState | None, now: DayState, *, asked: bool = False) -> Work | Deferred | None:
    found = plan([DAY], SEOUL, {} if known is None else {DAY: known}, {DAY: now}, LATER, asked=asked)
    return found[0] if found else None


def but(what: dict[str, object]) -> DayState:
    return replace(STATE, **what)  # type: ignore[arg-type]


def test_a_day_is_judged_once() -> None:
    assert one(None, STATE) == Work(DAY, "not judged yet")
    assert one(STATE, STATE) is None
    assert one(STATE, STATE, asked=True) == Work(DAY, "asked for")


@pytest.mark.parametrize(
    ("what", "word"),
    [
        ({"documents": 1_010}, "1000 then, 1010 now"),
        ({"trips": 51}, "trips"),
        ({"trips_changed_at": datetime(2026, 11, 21, tzinfo=UTC)}, "trips"),
        ({"method": "m2"}, "method"),
    ],
)
def test_whatever_has_changed_has_its_day_judged_anew(what: dict[str, object], word: str) -> None:
    found = one(STATE, but(what))
    assert isinstance(found, Work) and word in found.why


def test_what_was_found_stays_when_its_documents_have_expired() -> None:
    assert one(STATE, but({"documents": 0})) is None
    assert one(STATE, but({"documents": 0, "method": "m2"})) is None
    assert isinstance(one(STATE, but({"documents": 0}), asked=True), Work)


def test_a_day_without_a_trip_is_not_judged() -> None:
    empty = DayState(0, 0, None, "m1")
    assert one(None, empty) is None
    assert one(None, empty, asked=True) == Work(DAY, "not judged yet")


@pytest.mark.parametrize("source", ["trips", "documents"])
def test_a_day_that_is_not_complete_waits_for_silence_would_be_taken_for_a_stop(source: str) -> None:
    _, end = bounds(DAY, SEOUL)
    behind = {**LATER, source: end - timedelta(seconds=1)}
    (found,) = plan([DAY], SEOUL, {}, {DAY: STATE}, behind, asked=True)
    assert isinstance(found, Deferred) and source in found.why
    assert plan([DAY], SEOUL, {}, {DAY: STATE}, {**LATER, source: end}) == [Work(DAY, "not judged yet")]


def test_a_run_reaches_the_days_of_one_score_in_the_metrics_zone() -> None:
    days = reachable(datetime(2026, 11, 20, 15, 30, tzinfo=UTC), SEOUL)  # half past midnight of the 21st
    assert days[-1] == date(2026, 11, 20) and len(days) == WINDOW_DAYS
    assert bounds(DAY, SEOUL) == (datetime(2026, 11, 19, 15, tzinfo=UTC), datetime(2026, 11, 20, 15, tzinfo=UTC))
