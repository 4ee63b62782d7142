"""Secrets in the variables that libraries read by themselves: what they say of a failure must not hold them."""

import re
from collections.abc import Mapping
from urllib.parse import unquote

_HEADERS = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")
_ADDRESSES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "SENTRY_DSN")
_SHORTEST = 4
"""A shorter one is as likely a part of a word."""


def secrets_in(variables: Mapping[str, str]) -> tuple[str, ...]:
    """The values of headers, and logins and queries of addresses, as they are written and as they are meant. Pure."""
    found: set[str] = set()
    for name in _HEADERS:
        for pair in variables.get(name, "").split(","):
            found |= {pair, re.split("[=:]", pair, maxsplit=1)[-1]}
    for name in _ADDRESSES:
        address = variables.get(name, "")
        login, at, _ = address.partition("://")[2].rpartition("@")
        found |= set(login.split(":")) if at else set()
        found |= {pair.partition("=")[2] or pair for pair in address.partition("?")[2].split("&")}
    # Libraries quote a value, or show a part of it.
    plain = {part for one in found for part in (one, *re.split(r"\s+", unquote(one)))}
    return tuple(sorted((one.strip() for one in plain if len(one.strip()) >= _SHORTEST), key=len, reverse=True))
