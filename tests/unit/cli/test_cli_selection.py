"""Stretches of time on the command line: one meaning, echoed with its offset."""

from datetime import UTC, datetime

import pytest

from fleetgauge.cli.selection import span
from fleetgauge.errors import Terminal
from fleetgauge.rollup import Definition


def _metric(name: str, zone: str) -> Definition:
    return Definition(
        metric=name,
        source="s",
        event_time="t",
        measures={"n": {"agg": "count"}},  # type: ignore[dict-item]
        source_sql="SELECT 1",
        time_zone=zone,
    )


SEOUL = [_metric("a", "Asia/Seoul"), _metric("b", "Asia/Seoul")]
MIXED = [*SEOUL, _metric("c", "UTC")]


def test_a_local_time_is_the_metrics_and_is_echoed_with_its_offset(capsys: pytest.CaptureFixture[str]) -> None:
    found = span("2026-11-21", "2026-11-21T12:30", SEOUL)
    assert found == (datetime(2026, 11, 20, 15, tzinfo=UTC), datetime(2026, 11, 21, 3, 30, tzinfo=UTC))
    said = capsys.readouterr()
    assert said.err == "span: 2026-11-21T00:00+09:00 to 2026-11-21T12:30+09:00\n"
    assert said.out == ""


def test_an_offset_is_kept_whatever_the_zones() -> None:
    found = span("2026-11-21T00:00Z", "2026-11-21T12:30:10+02:00", MIXED)
    assert found == (datetime(2026, 11, 21, tzinfo=UTC), datetime(2026, 11, 21, 10, 30, 10, tzinfo=UTC))


def test_neither_end_is_no_span() -> None:
    assert span(None, None, MIXED) is None


@pytest.mark.parametrize(
    ("begin", "end", "said"),
    [
        ("2026-11-21", None, "give both --from and --to"),
        (None, "2026-11-21", "give both --from and --to"),
        ("2026-11-21", "2026-11-21", "the span is empty"),
        ("2026-11-21T00:00+09:00", "2026-11-20T15:00Z", "the span is empty"),
        ("2026-11-22", "2026-11-21", "the span is reversed.*turn it round"),
        ("yesterday", "2026-11-21", "--from 'yesterday' is neither a date nor a time"),
        ("2026-11-21", "2026-02-30", "--to '2026-02-30' is neither"),
        ("0001-01-01", "2026-11-21", "of the years 2 to 9997"),
        ("2026-11-21", "9999-12-31T23:59-12:00", "of the years 2 to 9997"),
    ],
)
def test_what_is_no_span_says_what_it_is(begin: str | None, end: str | None, said: str) -> None:
    with pytest.raises(Terminal, match=said):
        span(begin, end, SEOUL)


def test_metrics_of_different_zones_need_the_offset() -> None:
    with pytest.raises(Terminal, match=r"differ in their time zone: Asia/Seoul \(a, …\), UTC \(c\); give one"):
        span("2026-11-21", "2026-11-22", MIXED)
