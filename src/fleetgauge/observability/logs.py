"""What every log line of every component looks like: one JSON object, with keys that a collector can rely on.

`KEYS` are on each line. Where a line is about a run, a batch or a request, it names that too (`IDS`), and all lines of
one can be found by it; with tracing also `trace_id` and `span_id`. Whoever does the work binds them with `about`.
"""

import logging
import os
import re
import sys
import uuid
from collections.abc import Collection, Mapping, MutableMapping
from contextlib import AbstractContextManager
from typing import Any, Literal

import structlog

from fleetgauge.observability import errors_sentry, tracing
from fleetgauge.observability.variable_secrets import secrets_in

Style = Literal["auto", "json", "text"]

KEYS = ("timestamp", "level", "event", "component", "process")
"""`component` is the command; `process` an id of this one process, so that a restart shows."""
IDS = ("run", "batch", "request", "airflow_run")
"""`run`: its number in the run log; `batch`: topic, partition and first offset; `request`: as the caller sent it."""

_ADDRESS = re.compile(r"(\w+://[^\s:/@]*):[^\s@]*@")
_SECRET_KEYS = re.compile(r"password|secret|api_?key|token|authorization|dsn", re.IGNORECASE)


def about(**ids: object) -> AbstractContextManager[object]:
    """Lines inside the block, of this thread, name these; None is left out."""
    return structlog.contextvars.bound_contextvars(**{key: value for key, value in ids.items() if value is not None})


def as_json(style: Style) -> bool:
    """Whether lines are JSON: always, never, or wherever nobody watches a terminal."""
    return style == "json" or (style == "auto" and not sys.stderr.isatty())


def configure(component: str, style: Style = "auto", *, verbose: bool = False, quiet: bool = False) -> None:
    """Structured logs on stderr; once per process. `quiet`: warnings and worse only.

    Libraries speak through the standard logger: the same shape, warnings and worse only.
    """
    plain = not as_json(style)
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    fixed = {"component": component, "process": uuid.uuid4().hex[:12]}

    def who(_: Any, __: str, line: MutableMapping[str, Any]) -> Mapping[str, Any]:
        return {**fixed, **line}

    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        tracing.add_ids,
        Masking(secrets_in(os.environ)),
        errors_sentry.tell,
    ]
    # Without the local variables, which hold payloads and may hold secrets.
    tracebacks = structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    )
    final: list[structlog.types.Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if plain
        else [who, tracebacks, masked, structlog.processors.JSONRenderer(default=str)]
    )
    structlog.configure(
        processors=[*shared, *final],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # In one write with its end, or a line of a library in another thread could come between.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # It warns whenever its own thread did not get the processor for 0.1 s, which under full load is the normal case.
    logging.getLogger("kafka.net.selector").setLevel(logging.ERROR)
    # It tells of every failed request; whoever made the request says so, once.
    logging.getLogger("elastic_transport").setLevel(logging.ERROR)
    errors_sentry.start(component)


class Masking:
    """`masked`, and without the secrets of variables that only libraries read."""

    def __init__(self, secrets: Collection[str]) -> None:
        self._secrets = secrets

    def __call__(self, _: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Of one line."""
        line = masked(_, __, line)
        for key, value in line.items():
            if isinstance(value, str):
                for secret in self._secrets:
                    value = value.replace(secret, "***")
                line[key] = value
        return line


def masked(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A last resort: values under names of secrets, and passwords within addresses, are not written.

    Messages of errors are without secrets already (`fleetgauge.addresses`); this holds for what libraries say.
    """
    for key, value in line.items():
        if _SECRET_KEYS.search(key):
            line[key] = "***"
        elif isinstance(value, str):
            line[key] = _ADDRESS.sub(r"\1:***@", value)
    return line
