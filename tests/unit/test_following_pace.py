"""When the next round of a loop is due, and how long a metric that fails is set aside."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fleetgauge.following import EVERY_S, LONGEST_S, Patience, next_round, stamp


@given(st.floats(0, 1e6), st.floats(0, 1e4), st.floats(0.2, 600))
def test_rounds_stay_on_the_grid_of_the_first(due: float, took: float, every: float) -> None:
    found, missed = next_round(due, due + took, every)
    assert found > due + took - 1e-6, "never two at once"
    assert found - (due + took) <= every + 1e-6, "and no longer pause than one step"
    assert abs((found - due) / every - (missed + 1)) < 1e-6, "so nothing adds up"


def test_a_quick_round_leaves_none_out() -> None:
    assert next_round(100.0, 100.4, 2.0) == (102.0, 0)
    assert next_round(100.0, 105.0, 2.0) == (106.0, 2)


def test_what_may_pass_by_itself_is_tried_soon_and_then_less_often() -> None:
    waits, patience = [], Patience()
    for _ in range(8):
        patience = patience.failed(1000.0, "transient", lambda: 1.0)
        waits.append(patience.until - 1000.0)
    assert waits[0] == EVERY_S and waits == sorted(waits) and waits[-1] == LONGEST_S


def test_what_somebody_must_mend_is_tried_as_often_as_the_schedule_would() -> None:
    for kind in ("terminal", "stop"):
        for dice in (0.0, 1.0):
            wait = Patience().failed(0.0, kind, lambda dice=dice: dice).until  # type: ignore[misc]
            assert LONGEST_S / 2 <= wait <= LONGEST_S


def test_a_change_of_content_is_seen_and_nothing_else(tmp_path: Path) -> None:
    metric = tmp_path / "sql" / "metrics" / "ride"
    metric.mkdir(parents=True)
    (metric / "metric.yaml").write_text("a: 1\n")
    first = stamp(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    (metric / "draft~").write_text("x")
    assert stamp(tmp_path) == first
    (metric / "source.sql").write_text("SELECT 1\n")
    second = stamp(tmp_path)
    (metric / "metric.yaml").write_text("a: 22\n")
    assert len({tuple(one.items()) for one in (first, second, stamp(tmp_path))}) == 3
