"""A request that manages indices, with its refusals as errors that say what to do."""

import json
from typing import Any

from fleetgauge.errors import Stop, Terminal, Transient
from fleetgauge.ingest.classes import Class, classify
from fleetgauge.ingest.sink import Bulk, error_of


class Forbidden(Stop):
    """The login is known, but may not do this."""


def ask(bulk: Bulk, method: str, path: str, body: Any, right: str, *, absent_is_fine: bool = False) -> Any:
    """The parsed answer; `right` is what the login needs for it. Blocks. Raises `Transient`, `Stop`, `Terminal`."""
    answer = bulk.request(method, path, None if body is None else json.dumps(body).encode())
    if answer.status == 200:
        return json.loads(answer.body)
    kind, reason = error_of(answer.body)
    if absent_is_fine and kind == "index_not_found_exception":
        return {}
    told = f"Elasticsearch refused {method} {path} with {answer.status} {kind}: {reason}"
    rule = classify(answer.status, kind, reason)
    if rule.outcome is Class.RETRY:
        raise Transient(f"{told} ({rule.because}); try again later")
    if answer.status in (401, 403):
        kind_of_stop = Forbidden if answer.status == 403 else Stop
        raise kind_of_stop(f"{told}; check the login, and give it the right {right}")
    raise Terminal(f"{told}; see Elasticsearch's log")
