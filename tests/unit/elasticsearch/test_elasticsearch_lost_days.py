"""What a look remembers of the daily indices: the most documents that each has held, and which have lost some."""

from datetime import UTC, datetime, timedelta
from typing import Any

from fleetgauge.elasticsearch.lost_days import Days, lost_spans, opened, whole_again

FIRST, SECOND = "events-2026.11.20", "events-2026.11.21"
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)
WHOLE = (datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 21, tzinfo=UTC))


def noted(before: Any, documents: dict[str, int], kept_from: datetime | None = None, **more: Any) -> Any:
    return Days("events", documents, **{k: v for k, v in more.items() if k == "closed"}).noted(
        before, NOON, kept_from=kept_from, anew=more.get("anew", False)
    )


def test_a_day_that_grows_has_lost_nothing() -> None:
    seen = noted({}, {FIRST: 10, SECOND: 3, "events-of-others": 9})
    assert seen == {"documents": {FIRST: 10, SECOND: 3}, "foreign": {"events-of-others": 9}}
    assert noted(seen, {FIRST: 12, SECOND: 3}) == {"documents": {FIRST: 12, SECOND: 3}}


def test_a_day_that_is_gone_has_lost_all_until_it_is_back() -> None:
    before = noted({}, {FIRST: 10, SECOND: 3})
    gone = noted(before, {SECOND: 4})
    assert lost_spans(gone) == [WHOLE]
    partly = noted(gone, {FIRST: 9, SECOND: 4})
    assert lost_spans(partly) == [WHOLE] and whole_again(gone, partly) == []
    back = noted(partly, {FIRST: 10, SECOND: 4})
    assert lost_spans(back) == [] and whole_again(partly, back) == [WHOLE]


def test_a_day_that_was_still_going_on_is_lost_up_to_then() -> None:
    gone = noted(noted({}, {SECOND: 3}), {})
    ((begin, end),) = lost_spans(gone)
    assert begin == WHOLE[1] and NOON < end < NOON + timedelta(minutes=10)
    grown = noted(gone, {SECOND: 100})  # others came since: their number says nothing
    assert lost_spans(grown) == [(begin, end)]
    again = noted(grown, {SECOND: 103}, anew=True)
    assert lost_spans(again) == [] and whole_again(grown, again) == [(WHOLE[1], WHOLE[1] + DAY)]


def test_a_day_that_nothing_was_computed_of_begins_again() -> None:
    later = "events-2026.11.22"
    assert noted(noted({}, {later: 5}), {later: 1}) == {"documents": {later: 1}}


def test_a_day_that_expired_is_forgotten() -> None:
    before = noted({}, {FIRST: 10, SECOND: 3})
    assert noted(before, {SECOND: 3}, kept_from=WHOLE[1]) == {"documents": {SECOND: 3}}
    lost = noted(before, {SECOND: 3})
    assert lost_spans(noted(lost, {SECOND: 3}, kept_from=WHOLE[1])) == []


def test_a_day_that_is_closed_has_lost_nothing() -> None:
    before = noted({}, {FIRST: 10, SECOND: 3})
    closed = noted(before, {SECOND: 3}, closed={FIRST: WHOLE[0]})
    assert lost_spans(closed) == [] and closed["closed"] == {FIRST: WHOLE[0].isoformat()}
    assert opened(closed, noted(closed, {FIRST: 10, SECOND: 3})) == [WHOLE]
    deleted = noted(closed, {SECOND: 3})
    assert lost_spans(deleted) == [WHOLE]
