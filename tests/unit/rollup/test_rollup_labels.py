"""Labels of dimensions: NULL, the overflow and each text have one of their own, and it tells which it was."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fleetgauge.rollup.labels import (
    EVERY,
    FORMAT,
    LONGEST,
    NOT_SET,
    OTHER,
    before_relabelling,
    head_of,
    is_cut,
    label_of,
    relabelled,
    value_of,
)

NASTY = st.builds(
    lambda marks, text: "\\" * marks + text,
    st.integers(0, 4),
    st.sampled_from([NOT_SET, OTHER, EVERY, "unknown", "other", "", "(NOT SET)", " (other)", "(other) "]),
)
LONG = st.builds(
    lambda head, times, tail: head * times + tail,
    st.sampled_from(["a", "é", "漢", "\\"]),
    st.sampled_from([1, 63, 64, 65, 132, 134, 400, 401]),
    st.sampled_from(["", "z", "... " + "0" * 64, "... " + "0" * 64 + "\n"]),
)
VALUES = st.none() | st.text() | NASTY | LONG


@given(VALUES)
@example("")
def test_a_label_tells_its_value(value: str | None) -> None:
    label = label_of(value)
    if is_cut(label):
        assert value is not None and value.startswith(head_of(label))
        with pytest.raises(ValueError, match="stands for no one value"):
            value_of(label)
    else:
        assert value_of(label) == value
    assert len(label.encode()) <= LONGEST + 1
    assert label not in (OTHER, EVERY) and (label == NOT_SET) == (value is None)


@given(VALUES, VALUES)
def test_two_values_have_two_labels(one: str | None, other: str | None) -> None:
    assert (label_of(one) == label_of(other)) == (one == other)


@pytest.mark.parametrize("value", ["unknown", "other", "", "\\", "\\x00garbage", "(NOT SET)", " (other)"])
def test_what_cannot_be_taken_for_another_is_written_as_it_is(value: str) -> None:
    assert label_of(value) == value


@pytest.mark.parametrize("label", [OTHER, EVERY])
def test_what_stands_for_many_has_no_value(label: str) -> None:
    with pytest.raises(ValueError, match="stands for no one value"):
        value_of(label)


@given(st.text() | NASTY)
def test_labels_of_before_are_found_again(label: str) -> None:
    assert before_relabelling(relabelled(label, 1), 1) == label
    assert relabelled(label, FORMAT) == label == before_relabelling(label, FORMAT)
    assert (relabelled(label, 1) == NOT_SET) == (label == "unknown")
    assert (relabelled(label, 1) == OTHER) == (label == "other")
