"""What `doctor` finds, and how it asks: all servers at the same time, so that many that are away cost no more."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Literal

from fleetgauge.errors import FleetgaugeError

Status = Literal["ok", "warn", "fail"]

WITHIN_S = 10.0
"""Whoever has not answered by then counts as away; what Kafka is asked has a limit of its own below it."""


@dataclass(frozen=True)
class Finding:
    """One answer."""

    about: str
    """The server or part that was looked at."""
    status: Status
    said: str
    remedy: str = ""


@dataclass(frozen=True)
class Question:
    """Something to be looked at."""

    about: str
    ask: Callable[[], Iterable[Finding]]
    """Blocks; what it raises as a `FleetgaugeError` is a finding."""


def together(questions: Iterable[Question], within_s: float = WITHIN_S) -> Iterator[Finding]:
    """The findings in the order of the questions, which are asked at the same time. Blocks for `within_s` at most.

    What answers later is left alone in a thread of its own, which ends with the process. Raises what no
    `FleetgaugeError` is, in its turn.
    """
    until = time.monotonic() + within_s
    asked = [(question, _Answers(question)) for question in questions]
    for question, answers in asked:
        yield from answers.until(until, within_s, question.about)


class _Answers:
    """Of one question, as they come."""

    def __init__(self, question: Question) -> None:
        self._found: SimpleQueue[Finding | BaseException | None] = SimpleQueue()
        threading.Thread(target=self._ask, args=[question], name=f"doctor {question.about}", daemon=True).start()

    def until(self, deadline: float, within_s: float, about: str) -> Iterator[Finding]:
        """Up to the last, or the deadline."""
        while True:
            try:
                found = self._found.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                said = f"gave no answer within {within_s:g} s"
                yield Finding(about, "fail", said, "see whether it runs and can be reached from here, then ask again")
                return
            if found is None:
                return
            if isinstance(found, BaseException):
                raise found
            yield found

    def _ask(self, question: Question) -> None:
        try:
            for finding in question.ask():
                self._found.put(finding)
        except FleetgaugeError as error:
            self._found.put(Finding(question.about, "fail", str(error)))
        except BaseException as error:
            self._found.put(error)
        self._found.put(None)
