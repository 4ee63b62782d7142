"""What the service exports beside its requests: calls of others by target, and its pool of connections."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from sqlalchemy import Engine
from sqlalchemy.pool import QueuePool


class ServiceMetrics:
    """Of one service. The pool has the names of OpenTelemetry's conventions."""

    def __init__(self, engine: Engine) -> None:
        self.registry = CollectorRegistry()
        self._calls = Counter("external_requests", "Calls of others.", ["target", "outcome"], registry=self.registry)
        self._seconds = Histogram("external_request_seconds", "How long they took.", ["target"], registry=self.registry)
        usage = Gauge(
            "db_client_connections_usage", "Connections of a pool.", ["pool_name", "state"], registry=self.registry
        )
        pool = engine.pool
        assert isinstance(pool, QueuePool)
        usage.labels("primary", "used").set_function(pool.checkedout)
        usage.labels("primary", "idle").set_function(pool.checkedin)

    @contextmanager
    def call(self, target: str) -> Iterator[None]:
        """Around a call of another service; what is raised inside is a failure, and goes on."""
        began, outcome = time.perf_counter(), "error"
        try:
            yield
            outcome = "success"
        finally:
            self._calls.labels(target, outcome).inc()
            self._seconds.labels(target).observe(time.perf_counter() - began)
