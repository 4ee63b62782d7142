"""A pattern that could stall a consumer is refused; what is accepted is quick on the worst text."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetgauge.contracts.patterns import TooComplex, check

GOOD = [
    (r"^[A-Za-z0-9._-]+$", None),
    (r"^[a-z]+(\.[a-z]+)*$", 200),
    (r"^([a-z]+\.)*[a-z]+$", 200),
    (r"^(?:[0-9]{2}:){2}[0-9]{2}$", None),
    (r"^([0-9]{2}){3}$", None),
    (r"^(a|b|cd)+$", None),
    (r"^[0-9]{1,3}(\.[0-9]{1,3}){3}$", 15),
    (r"^\+?[0-9 ()-]{5,20}$", 20),
    (r"^[^@ ]+@[^@ ]+$", 254),
    (r"^E_[0-9]+$", None),
    (r"^a{2$", None),
]
STALLING = [
    r"^(a+)+$",
    r"^(a*)*$",
    r"^(a|a)+$",
    r"^(a|ab|b)+$",
    r"^([a-z0-9]+[a-z]*)+$",
    r"^(.*,)*x$",
    r"^(a?b?)*$",
    r"^([a-z]+-?)+$",
    r"^((ab)*(ab)*)*$",
    r"^([a-z]{1,9}){1,30}$",
]
SLOW = [(r"[a-z]+x", None), (r"^[a-z]*[a-z0-9]*$", 100_000), (r"^.*a.*b.*c.*d$", 2_000), (r"^x|[a-z]*y$", None)]


@pytest.mark.parametrize(("pattern", "longest"), GOOD)
def test_what_is_written_every_day_is_accepted(pattern: str, longest: int | None) -> None:
    re.compile(pattern)
    check(pattern, longest)


@pytest.mark.parametrize("pattern", STALLING)
def test_two_ways_through_a_loop_are_refused(pattern: str) -> None:
    re.compile(pattern)
    with pytest.raises(TooComplex, match="stall a consumer"):
        check(pattern, 30)


@pytest.mark.parametrize(("pattern", "longest"), SLOW)
def test_what_takes_long_for_a_long_text_needs_a_limit(pattern: str, longest: int | None) -> None:
    with pytest.raises(TooComplex, match="maxLength"):
        check(pattern, longest)
    check(pattern, 50)


@pytest.mark.parametrize("pattern", [r"^(?=a)a$", r"^(?i)a$", r"^(?!a)b$"])
def test_what_dialects_do_not_share_is_refused(pattern: str) -> None:
    with pytest.raises(TooComplex, match="remove"):
        check(pattern, 10)


ATOMS = st.sampled_from(["a", "b", "[ab]", "[^a]", ".", "ab"])
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}"])).map(lambda p: f"({p[0]}){p[1]}"),
        st.lists(inner, min_size=2, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda found: f"({'|'.join(found)})"),
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(pattern=PATTERNS, unit=st.sampled_from(["a", "ab", "b", "aab"]))
def test_an_accepted_pattern_is_quick(pattern: str, unit: str) -> None:
    try:
        check(f"^{pattern}$", 200)
    except TooComplex:
        return
    text = unit * (199 // len(unit)) + "\n!"
    began = time.perf_counter()
    re.search(rf"^{pattern}\Z", text)
    assert time.perf_counter() - began < 2, pattern
