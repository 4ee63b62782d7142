"""One answer for all metrics of a round, and no older one."""

import pytest

from fleetgauge.errors import Conflict
from fleetgauge.progress.offsets import GroupProgress
from fleetgauge.progress.round_progress import KEPT_S, RoundProgress


def test_a_round_asks_once_and_a_long_one_again() -> None:
    asked, clock = list[int](), [0.0]

    def read() -> dict[str, GroupProgress]:
        asked.append(len(asked))
        clock[0] += 1.0  # an answer is as old as the question
        return {}

    kept = RoundProgress(lambda: clock[0])
    for _ in range(3):
        kept.of(read)
    assert len(asked) == 1
    kept.forget()
    kept.of(read)
    assert len(asked) == 2
    clock[0] += KEPT_S
    kept.of(read)
    assert len(asked) == 3


def test_what_could_not_be_asked_is_asked_again() -> None:
    kept, tries = RoundProgress(), list[int]()

    def read() -> dict[str, GroupProgress]:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("away")
        return {}

    with pytest.raises(OSError, match="away"):
        kept.of(read)
    assert kept.of(read) == ({}, None) and len(tries) == 2
    assert kept.of(read) == ({}, kept) and len(tries) == 2


def test_a_doubted_answer_is_asked_anew() -> None:
    kept = RoundProgress()
    kept.of(dict)
    with pytest.raises(Conflict, match="source events: another worker"):
        kept.doubt("events")
    assert kept.of(dict) == ({}, None)
