"""Doctor's questions are asked at the same time, and told in their order."""

import threading
import time
from collections.abc import Iterator

import pytest

from fleetgauge.errors import Terminal
from fleetgauge.rollup.operating.findings import Finding, Question, together

OK = Finding("b", "ok", "answers")


def test_all_are_asked_at_once_and_told_in_order() -> None:
    met = threading.Barrier(2, timeout=10)

    def ask(finding: Finding) -> Iterator[Finding]:
        met.wait()  # one after the other would never get past it
        yield finding

    first = Finding("a", "warn", "is old")
    assert list(together([Question("a", lambda: ask(first)), Question("b", lambda: ask(OK))])) == [first, OK]


def test_who_does_not_answer_is_told_and_holds_nobody_up() -> None:
    never = threading.Event()

    def silent() -> Iterator[Finding]:
        yield Finding("a", "ok", "connects")
        never.wait(60)

    began = time.monotonic()
    found = list(together([Question("a", silent), Question("b", lambda: [OK])], within_s=0.2))
    assert time.monotonic() - began < 10
    never.set()
    assert [(one.about, one.status) for one in found] == [("a", "ok"), ("a", "fail"), ("b", "ok")]
    assert "no answer within 0.2 s" in found[1].said


def test_an_error_is_a_finding_and_a_defect_is_raised() -> None:
    def fails(error: Exception) -> Iterator[Finding]:
        yield from ()
        raise error

    (found,) = together([Question("a", lambda: fails(Terminal("no such table; migrate")))])
    assert (found.about, found.status, found.said) == ("a", "fail", "no such table; migrate")
    with pytest.raises(ZeroDivisionError):
        list(together([Question("a", lambda: fails(ZeroDivisionError()))]))
