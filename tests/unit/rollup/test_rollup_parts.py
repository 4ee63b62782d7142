"""Sketches, checks, admission of dimension values, pace, reports: the parts that need no server."""

import json
import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetgauge.errors import Stop, Terminal, Transient
from fleetgauge.rollup.definitions.admission import Admission
from fleetgauge.rollup.definitions.checks import parse_check
from fleetgauge.rollup.definitions.definition import Definition, Dimension
from fleetgauge.rollup.execute.pace import Pace
from fleetgauge.rollup.execute.report import RunReport, raise_failures
from fleetgauge.rollup.sketches import sketch
from fleetgauge.rollup.values import BlockedCell

NORMAL = st.floats(min_value=1e-300, max_value=1e300)
VALUES = st.one_of(NORMAL, NORMAL.map(lambda x: -x), st.just(0.0), st.integers(-1000, 1000).map(float))


@given(st.lists(VALUES, min_size=1, max_size=200), st.integers(0, 1000))
def test_a_quantile_is_within_one_percent_of_the_nearest_rank(values: list[float], thousandths: int) -> None:
    rank = max(1, -(-thousandths * len(values) // 1000))
    exact = sorted(values)[rank - 1]
    found = sketch.quantile(sketch.sketch(values), thousandths / 1000)
    assert found is not None
    assert abs(found - exact) <= 0.01 * abs(exact)


@given(st.lists(st.lists(VALUES, max_size=30), max_size=6))
def test_merging_equals_sketching_all(parts: list[list[float]]) -> None:
    merged = sketch.merge(sketch.sketch(p) for p in parts)
    assert merged == sketch.sketch([v for p in parts for v in p])
    half = len(merged) // 2
    assert merged[:half] == sorted(set(merged[:half]))


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_buckets_rise_with_values(a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert sketch.bucket(low) <= sketch.bucket(high)
    assert math.isfinite(sketch.estimate(sketch.bucket(a)))


def test_an_empty_sketch_has_no_quantile() -> None:
    assert sketch.quantile(sketch.sketch([]), 0.5) is None


def test_checks_read_sums_of_measures_and_numbers() -> None:
    check = parse_check(" -a + b - 3 >= c ")
    assert check.measures == ("a", "b", "c")
    assert check.violated().as_string(None) == 'NOT coalesce((- "a" + "b" - 3) >= (+ "c"), true)'


@pytest.mark.parametrize(
    "text", ["", "a", "a <=", "<= a", "a <= b <= c", "a b <= c", "a + <= c", "a <= f(b)", "a <= b; x", "a --b <= c", 7]
)
def test_anything_else_is_no_check(text: object) -> None:
    with pytest.raises(ValueError, match="is not a check"):
        parse_check(text)


def _definition(limit: int) -> Definition:
    return Definition(
        metric="m",
        source="s",
        event_time="t",
        measures={"n": {"agg": "count"}},  # type: ignore[dict-item]
        source_sql="SELECT 1",
        dimensions={"a": Dimension(column="a", limit=limit), "b": Dimension(column="b", limit=1)},
    )


@given(st.lists(st.tuples(st.sampled_from("pqrstu"), st.sampled_from("xyz")), max_size=40), st.integers(1, 4))
def test_a_values_fate_never_changes(rows: list[tuple[str, str]], limit: int) -> None:
    """In whatever order values come, and however the work is cut into transactions, each keeps its first place."""
    definition = _definition(limit)
    stored: list[tuple[str, str]] = []
    fate: dict[tuple[str, str], str] = {}
    for row in rows:
        admission = Admission(definition, stored)  # a transaction of its own
        placed = admission.place(row)
        stored += admission.new
        for name, value, place in zip("ab", row, placed, strict=True):
            assert place in (value, "other")
            assert fate.setdefault((name, value), place) == place
    assert len([v for n, v in stored if n == "a"]) <= limit
    assert len(set(stored)) == len(stored)


def test_the_word_other_is_never_kept_apart() -> None:
    admission = Admission(_definition(4), [])
    assert not admission.fits(("other", "x"))
    assert ("a", "other") not in admission.new


def test_pace_shrinks_waits_and_gives_up() -> None:
    waits: list[float] = []
    pace = Pace(1000, rows_aimed=100, tries=4, pause_s=0.5, sleep=waits.append)
    error = Transient("x")
    for size in (250, 62, 15):
        pace.failed(error)
        assert pace.size == size
    assert waits == [0.5, 1.0, 2.0]
    pace.succeeded(10)
    assert pace.size == 30
    pace.succeeded(75)
    assert pace.size == 30
    pace.succeeded(500)
    assert pace.size == 15
    for _ in range(3):
        pace.failed(error)  # the count began anew
    with pytest.raises(Transient):
        pace.failed(error)
    assert pace.size >= 1


def test_a_report_is_json() -> None:
    at = datetime(2026, 11, 21, tzinfo=UTC)
    report = RunReport(
        "m",
        "v",
        "minute",
        watermark=at,
        closed_until={"minute": at},
        blocked=(BlockedCell(at, (("zone", "z"),), "a < b", retry_at=at),),
    )
    plain = json.loads(json.dumps(report.to_dict()))
    assert plain["watermark"] == "2026-11-21T00:00:00+00:00"
    assert plain["blocked"] == [
        {
            "window_start": "2026-11-21T00:00:00+00:00",
            "dimensions": {"zone": "z"},
            "check": "a < b",
            "tries": 1,
            "retry_at": "2026-11-21T00:00:00+00:00",
        }
    ]


def test_failures_are_raised_together_as_the_gravest() -> None:
    def failed(metric: str, severity: str) -> RunReport:
        return RunReport(metric, "v", "minute", error=f"{metric} broke", severity=severity)  # type: ignore[arg-type]

    raise_failures([RunReport("fine", "v", "minute")])
    blocked = RunReport("b", "v", "minute", blocked=(BlockedCell(datetime(2026, 1, 1, tzinfo=UTC), (), "x < y"),))
    with pytest.raises(Transient):
        raise_failures([failed("t", "transient")])
    with pytest.raises(Terminal, match=r"check 'x < y' is broken in 1 cell.*metric t"):
        raise_failures([failed("t", "transient"), blocked])
    with pytest.raises(Stop, match=r"metric s.*metric b.*metric t"):
        raise_failures([failed("t", "transient"), blocked, failed("s", "stop")])
