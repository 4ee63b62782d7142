"""Free ports are chosen, and asked ones refused when in use."""

import socket

import pytest

from fleetgauge.errors import Terminal
from fleetlab.stack.ports import choose, is_free, is_open


def test_ports_are_free_distinct_and_stay_the_same() -> None:
    names = [f"p{n}" for n in range(20)]
    first = choose(names, asked={}, before={})
    assert len(set(first.values())) == len(names)
    assert all(is_free(port) for port in first.values())
    assert choose(names, asked={}, before=first) == first


def test_a_port_in_use_is_refused_if_asked_and_replaced_if_remembered() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert is_open(port)
        with pytest.raises(Terminal, match=f"port {port} asked for kafka is in use.*--port kafka="):
            choose(["kafka"], asked={"kafka": port}, before={})
        assert choose(["kafka"], asked={}, before={"kafka": port})["kafka"] != port
    assert not is_open(port)


def test_one_port_cannot_be_asked_for_twice() -> None:
    port = choose(["a"], asked={}, before={})["a"]
    with pytest.raises(Terminal, match="in use"):
        choose(["a", "b"], asked={"a": port, "b": port}, before={})


def test_asked_ports_go_before_remembered_ones() -> None:
    port = choose(["a"], asked={}, before={})["a"]
    chosen = choose(["a", "b"], asked={"b": port}, before={"a": port})
    assert chosen["b"] == port != chosen["a"]
