"""Errors to Sentry, where `SENTRY_DSN` is set and the extra [sentry] is installed: what is logged as an error.

Environment and release are told by Sentry's own variables. Nothing of a person, no local variables and no request is
sent; the log line is, whose messages hold no secret.
"""

import os
from collections.abc import Mapping, MutableMapping
from typing import Any

from fleetgauge.errors import Terminal

VARIABLE = "SENTRY_DSN"
_TOLD = ("error", "critical", "exception")


def start(component: str) -> None:
    """Make the client, once per process; nothing without a DSN. Raises `ModuleNotFoundError` without the extra, and
    `Terminal` for a DSN that is none.
    """
    if not os.environ.get(VARIABLE):
        return
    import sentry_sdk

    try:
        sentry_sdk.init(
            default_integrations=False, send_default_pii=False, include_local_variables=False, max_breadcrumbs=0
        )
    except ValueError:  # its text, and whatever caused it, may hold the key
        raise Terminal(f"{VARIABLE} is no address of a Sentry project (https://KEY@HOST/PROJECT); correct it") from None
    sentry_sdk.set_tag("component", component)


def tell(_: Any, __: str, line: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """For a log line: one of an error goes to Sentry too. Does not block: its own thread sends."""
    if not os.environ.get(VARIABLE) or line.get("level") not in _TOLD:
        return line
    import sentry_sdk

    with sentry_sdk.new_scope() as scope:
        scope.set_context("line", {key: str(value) for key, value in line.items() if key != "exc_info"})
        error = line.get("exc_info")
        if isinstance(error, BaseException):
            sentry_sdk.capture_exception(error)
        elif error:
            sentry_sdk.capture_exception()
        else:
            said = line.get("error")
            sentry_sdk.capture_message(f"{line.get('event')}: {said}" if said else str(line.get("event")), "error")
    return line


def flush() -> None:
    """Send what is waiting; blocks for two seconds at most."""
    if os.environ.get(VARIABLE):
        import sentry_sdk

        sentry_sdk.flush(2.0)
