"""Free loopback ports."""

import random
import socket
import urllib.request
from collections.abc import Mapping

from fleetgauge.errors import Terminal

LOOPBACK = "127.0.0.1"
# Below the range from which Linux (32768) and macOS (49152) take the ports of outgoing connections: a port of that
# range could be taken between choosing it and the server's start.
_RANGE = range(15000, 32000)


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except (OSError, OverflowError):
            return False
    return True


def is_open(port: int) -> bool:
    """Whether something listens on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((LOOPBACK, port)) == 0


def get(url: str) -> bytes:
    """The body of a loopback URL, past any proxy. Raises `urllib.error.URLError`, or for an error status."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=5) as response:
        body: bytes = response.read()
    return body


def choose(names: list[str], *, asked: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    """A free port for each name: the one `asked` for, else the one it had `before` if that is free, else a random one.

    Raises `Terminal` when an asked port is in use.
    """
    chosen: dict[str, int] = {}
    for name in names:
        if name in asked:
            if asked[name] in chosen.values() or not is_free(asked[name]):
                raise Terminal(
                    f"port {asked[name]} asked for {name} is in use; stop what listens there, "
                    f"or choose another with --port {name}=NUMBER, or leave it out for a free one"
                )
            chosen[name] = asked[name]
    for name in names:
        if name not in chosen:
            chosen[name] = _free(before.get(name), set(chosen.values()))
    return chosen


def _free(preferred: int | None, taken: set[int]) -> int:
    for port in ([] if preferred is None else [preferred]) + random.sample(_RANGE, 1000):
        if port not in taken and is_free(port):
            return port
    raise Terminal(f"no free loopback port between {_RANGE.start} and {_RANGE.stop}; stop some servers")
