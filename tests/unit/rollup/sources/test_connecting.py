"""A connection that is opened while its owner does something else."""

import threading

import pytest

from fleetgauge.errors import Transient
from fleetgauge.rollup.sources.connecting import Connecting


class _Connection:
    def __init__(self) -> None:
        self.closed = threading.Event()

    def close(self) -> None:
        self.closed.set()


def test_who_begins_it_goes_on_and_takes_it_later() -> None:
    let, found = threading.Event(), _Connection()

    def connect() -> _Connection:
        assert let.wait(10)
        return found

    coming = Connecting[_Connection]()
    coming.begin(connect)
    let.set()
    assert coming.take() is found
    assert not found.closed.is_set()


def test_what_fails_is_raised_where_the_connection_is_wanted() -> None:
    def connect() -> _Connection:
        raise Transient("source shop is away")

    coming = Connecting[_Connection]()
    coming.begin(connect)
    with pytest.raises(Transient, match="source shop is away"):
        coming.take()


@pytest.mark.parametrize("late", [False, True])
def test_one_that_is_dropped_is_closed_also_if_it_comes_later(late: bool) -> None:
    let, found = threading.Event(), _Connection()

    def connect() -> _Connection:
        assert let.wait(10)
        return found

    coming = Connecting[_Connection]()
    coming.begin(connect)
    if late:
        coming.drop()
        assert not found.closed.is_set()
        let.set()
    else:
        let.set()
        for thread in threading.enumerate():
            if thread.name == "connect":
                thread.join(10)
        coming.drop()
    assert found.closed.wait(10)


def test_one_at_a_time_and_what_was_taken_is_its_owners() -> None:
    found, other = _Connection(), _Connection()
    coming = Connecting[_Connection]()
    assert coming.take() is None
    coming.begin(lambda: found)
    coming.begin(lambda: other)
    assert coming.take() is found
    assert coming.take() is None
    coming.drop()
    assert not found.closed.is_set()


def test_dropping_one_that_fails_raises_nothing() -> None:
    def connect() -> _Connection:
        raise Transient("source shop is away")

    coming = Connecting[_Connection]()
    coming.begin(connect)
    with pytest.raises(Transient):
        coming.take()
    coming.drop()
