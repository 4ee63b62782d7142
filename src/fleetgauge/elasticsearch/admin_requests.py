"""A request that manages indices, with its refusals as errors that say what to do."""

import json
from collections.abc import Collection
from typing import Any

from fleetgauge.elasticsearch.answers import Class, classify
from fleetgauge.elasticsearch.transport import Bulk, error_of
from fleetgauge.errors import Stop, Terminal, Transient


class Forbidden(Stop):
    """The login is known, but may not do this."""


def ask(bulk: Bulk, method: str, path: str, body: Any, if_forbidden: str, *, fine: Collection[str] = ()) -> Any:
    """The parsed answer; empty for a refusal of a type that is `fine`. Blocks. Raises `Transient`, `Stop`, `Terminal`.

    `if_forbidden`: what to do about a login that may not, for the message of `Forbidden`.
    """
    answer = bulk.request(method, path, None if body is None else json.dumps(body).encode())
    if answer.status == 200:
        return json.loads(answer.body)
    kind, reason = error_of(answer.body)
    if kind in fine:
        return {}
    told = f"Elasticsearch refused {method} {path} with {answer.status} {kind}: {reason}"
    rule = classify(answer.status, kind, reason)
    if rule.outcome is Class.RETRY:
        raise Transient(f"{told} ({rule.because}); try again later")
    if answer.status >= 500:  # nothing in settings or content explains it, and asking again is harmless here
        raise Transient(f"{told}; look into Elasticsearch's log if it goes on")
    if answer.status == 403:
        raise Forbidden(f"{told}; {if_forbidden}")
    if answer.status == 401:
        raise Stop(f"{told}; check elasticsearch.api_key, or username and password")
    raise Terminal(f"{told}; correct what it names")
