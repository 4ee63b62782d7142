"""A request that manages indices, with its refusals as errors that say what to do."""

import json
from collections.abc import Collection
from typing import Any

from fleetgauge.elasticsearch.elasticsearch_errors import refusal
from fleetgauge.elasticsearch.transport import Bulk, error_of
from fleetgauge.errors import Conflict


def ask(bulk: Bulk, method: str, path: str, body: Any, if_forbidden: str, *, fine: Collection[str] = ()) -> Any:
    """The parsed answer; empty for a refusal of a type that is `fine`. Blocks. Raises `Transient`, `Stop`, `Terminal`.

    `if_forbidden`: what to do about a login that may not, for the message of `Forbidden`.
    """
    answer = bulk.request(method, path, None if body is None else json.dumps(body).encode())
    if answer.status == 200:
        try:
            return json.loads(answer.body)
        except ValueError:
            raise Conflict(f"{method} {path} was answered with what is no JSON; is a proxy in between?") from None
    kind, reason = error_of(answer.body)
    if kind in fine:
        return {}
    raise refusal(answer.status, kind, reason, f"Elasticsearch refused {method} {path} with", if_forbidden)
