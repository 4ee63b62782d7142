"""Text with U+0000 goes to Postgres and back, and no two texts become one."""

from hypothesis import given
from hypothesis import strategies as st

from fleetgauge.postgres.nul_text import with_nul, without_nul

TEXTS = st.lists(st.sampled_from(["\0", "\\", "u0000", "0", "u", "\ufffd", "a"]), max_size=6).map("".join)


@given(TEXTS)
def test_it_comes_back(text: str) -> None:
    written = without_nul(text)
    assert "\0" not in written and with_nul(written) == text


@given(TEXTS, TEXTS)
def test_two_texts_stay_two(one: str, other: str) -> None:
    assert (without_nul(one) == without_nul(other)) == (one == other)


def test_what_has_none_stays_as_it_is() -> None:
    assert [without_nul(text) for text in ("", "a\\b", "\ufffd", r"\u00e9")] == ["", "a\\b", "\ufffd", r"\u00e9"]
    assert (without_nul("a\0b"), without_nul(r"a\u0000b")) == (r"a\u0000b", r"a\\u0000b")
