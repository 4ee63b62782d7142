"""Checks as they are written, and the distinct values that a dimension admits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetgauge.rollup.definitions.admission import Admission
from fleetgauge.rollup.definitions.checks import parse_check
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.parts import Dimension


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
        resolved = admission.resolve(row)
        stored += admission.new
        for name, value, stored_as in zip("ab", row, resolved, strict=True):
            assert stored_as in (value, "(other)")
            assert fate.setdefault((name, value), stored_as) == stored_as
    assert len([v for n, v in stored if n == "a"]) <= limit
    assert len(set(stored)) == len(stored)


def test_the_overflow_is_never_kept_apart() -> None:
    admission = Admission(_definition(4), [])
    assert not admission.fits(("(other)", "x"))
    assert ("a", "(other)") not in admission.new
