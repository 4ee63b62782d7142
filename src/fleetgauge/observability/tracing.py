"""OpenTelemetry traces of runs and batches, where an endpoint is set; else nothing is imported and nothing costs.

`OTEL_EXPORTER_OTLP_ENDPOINT` (or its `_TRACES_` form) and the extra [tracing] switch it on. Everything else, such as
headers, sampling and the service's name, is told by OpenTelemetry's own variables. Spans are sent by a thread of their
own, over HTTP; a collector that is away loses them, and holds up nothing but the end of the process: for as long as one
request may take (`OTEL_EXPORTER_OTLP_TIMEOUT`, 10 s), and 30 s in all.
"""

import functools
import os
import threading
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fleetgauge.errors import Terminal

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

FLUSH_S = 5.0
VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


@contextmanager
def in_span(name: str, **attributes: str | int | float | None) -> Iterator["Span | None"]:
    """A span around the block, within the one that is open in this thread; None where tracing is off.

    What is raised inside marks it as failed and goes on.
    """
    tracer = _tracer()
    if tracer is None:
        yield None
        return
    known = {f"fleetgauge.{key}": value for key, value in attributes.items() if value is not None}
    with tracer.start_as_current_span(name, attributes=known) as opened:
        yield opened


def add_ids(_: Any, __: str, line: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """For a log line: the trace and span that are open, in the form in which collectors link them."""
    # Before a tracer is made no span is open; and while it is made, it may log by itself.
    if not _tracer.cache_info().currsize or _tracer() is None:
        return line
    from opentelemetry.trace import get_current_span

    context = get_current_span().get_span_context()
    if context.is_valid:
        return {**line, "trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
    return line


def flush() -> None:
    """Send what is waiting; blocks for `FLUSH_S` at most, which the SDK's own flush does not keep to."""
    if _tracer() is not None:
        sending = threading.Thread(target=_provider().force_flush, name="flush", daemon=True)
        sending.start()
        sending.join(FLUSH_S)


def forget() -> None:
    """Look at the variables again, as a new process does."""
    _tracer.cache_clear()
    _provider.cache_clear()


@functools.cache
def _provider() -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = os.environ.get("OTEL_SERVICE_NAME", "fleetgauge")
    provider = TracerProvider(resource=Resource.create({"service.name": name}))  # ends what is open at exit
    try:
        exporter = OTLPSpanExporter()
    except (ValueError, AttributeError, TypeError):  # its text may hold what the variables do
        said = "OTEL_EXPORTER_OTLP_HEADERS or another variable of OpenTelemetry cannot be read; correct it (a=b,c=d)"
        raise Terminal(said) from None
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


@functools.cache
def _tracer() -> "Tracer | None":
    """Made once, when first asked for; None without an endpoint."""
    if not any(os.environ.get(name) for name in VARIABLES) or os.environ.get("OTEL_SDK_DISABLED") == "true":
        return None
    found: Tracer = _provider().get_tracer("fleetgauge")
    return found
