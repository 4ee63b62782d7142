"""Viewers who ask a data source for panels, by Locust; a process of its own, since Locust changes Python's sockets.

A user asks for one panel after the other, over its own ranges and filters, at a steady rate. As in Grafana, all of them
share the few connections that the data source may open: what is measured is the wait for one, and the query. There is
no Grafana and no HTTP between.
"""

# ruff: noqa: I001 - Locust first: it patches what the other modules would have taken already

from locust import User, constant_throughput, task
from locust.env import Environment

import json
import random
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gevent
import psycopg
from gevent.queue import Queue


@dataclass(frozen=True)
class Order:
    """What a process is to do; as JSON in the file that it is given."""

    url: str
    """Of the metrics database, as Grafana's login."""
    connections: int
    users: int
    per_second: float
    """Requests of all users together."""
    seconds: float
    seed: int
    panels: list[tuple[str, str]]
    """Dashboard and SQL of each panel, ready to run."""


@dataclass(frozen=True)
class Answered:
    """How the panels were answered; times in milliseconds."""

    requests: int
    errors: int
    per_second: float
    p50: float
    p95: float
    p99: float
    first_error: str = ""


def ask(order: Order) -> Answered:
    """Let the users ask; blocks. Each query has run once before, so that they find what a busy server has in memory."""
    free: Queue[psycopg.Connection[Any]] = Queue()
    for _ in range(order.connections):
        free.put(psycopg.connect(order.url, autocommit=True))
    warm = free.get()
    for _, sql in order.panels:
        warm.execute(sql).fetchall()
    free.put(warm)
    dice, errors = random.Random(order.seed), list[str]()
    every_s = order.users / order.per_second

    class Viewer(User):
        wait_time = constant_throughput(1 / every_s)

        def on_start(self) -> None:  # else all ask at the same moment, and each waits for all others
            gevent.sleep(dice.random() * every_s)

        @task
        def look(self) -> None:
            name, sql = dice.choice(order.panels)
            began, failed, rows = time.perf_counter(), None, 0
            connection = free.get()
            try:
                rows = len(connection.execute(sql).fetchall())
            except psycopg.Error as error:
                failed = error
                errors.append(str(error))
            finally:
                free.put(connection)
            self.environment.events.request.fire(
                request_type="panel",
                name=name,
                response_time=(time.perf_counter() - began) * 1000,
                response_length=rows,
                exception=failed,
            )

    environment = Environment(user_classes=[Viewer])
    runner = environment.create_local_runner()
    runner.start(order.users, spawn_rate=order.users)
    gevent.sleep(every_s + order.seconds / 10)  # all are there, and ask in their own time
    environment.stats.reset_all()
    began = time.monotonic()
    gevent.sleep(order.seconds)
    took, total = time.monotonic() - began, environment.stats.total
    p50, p95, p99 = (float(total.get_response_time_percentile(share) or 0) for share in (0.5, 0.95, 0.99))
    found = Answered(
        total.num_requests,
        total.num_failures,
        round(total.num_requests / took, 1),
        p50,
        p95,
        p99,
        next(iter(errors), ""),
    )
    runner.quit()
    return found


if __name__ == "__main__":
    said = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    print(json.dumps(asdict(ask(Order(**said)))))
