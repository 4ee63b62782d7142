"""A request that manages indices, with its refusals as errors that say what to do."""

import json
from collections.abc import Collection
from typing import Any

import msgspec

from fleetgauge.elasticsearch.elasticsearch_errors import refusal
from fleetgauge.elasticsearch.transport import Answer, Bulk, error_of
from fleetgauge.errors import Transient


def ask(
    bulk: Bulk,
    method: str,
    path: str,
    body: Any,
    if_forbidden: str,
    *,
    fine: Collection[str] = (),
    shape: Any = dict[str, Any],
) -> Any:
    """The parsed answer, which has the `shape`; an empty dict for a refusal of a type that is `fine`. Blocks.

    `if_forbidden`: what to do about a login that may not, for the message of `Forbidden`. Raises `Transient` (also for
    what Elasticsearch does not say: a page of a proxy, half an answer), `Stop`, `Terminal`.
    """
    answer = bulk.request(method, path, None if body is None else json.dumps(body).encode())
    if answer.status == 200:
        try:
            return msgspec.json.decode(answer.body, type=shape)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise _strange(answer, method, path) from None
    kind, reason = error_of(answer.body)
    if kind in fine:
        return {}
    if answer.status == 404 and kind == "unknown":  # Elasticsearch always says what it did not find
        raise _strange(answer, method, path)
    raise refusal(answer.status, kind, reason, f"Elasticsearch refused {method} {path} with", if_forbidden)


def _strange(answer: Answer, method: str, path: str) -> Transient:
    return Transient(
        f"{method} {path} was answered {answer.status} with {len(answer.body)} bytes that are not what Elasticsearch "
        "says; is a proxy in between?"
    )
