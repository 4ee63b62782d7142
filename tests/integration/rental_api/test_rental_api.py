"""The laboratory's service: real requests on a real database, by the names that dashboards and alerts ask for."""

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

import httpx
import psycopg
import pytest
import uvicorn
from sqlalchemy import Engine, create_engine

from fleetgauge.observability import logs
from fleetlab.rental_api.__main__ import listening
from fleetlab.rental_api.rider_load import ride_on
from fleetlab.rental_api.service_app import create_app
from fleetlab.stack import PostgresState

VEHICLES = """
CREATE TABLE vehicles (code text PRIMARY KEY, model_code text, zone_code text, vehicle_state text);
INSERT INTO vehicles SELECT 'sc-' || lpad(n::text, 5, '0'), 'm365-pro', 'gangnam', 'available'
FROM generate_series(1, 30) AS n;
"""


@dataclass(frozen=True)
class Served:
    """A service that runs."""

    url: str
    engine: Engine


@pytest.fixture(scope="module")
def served(postgres: PostgresState) -> Iterator[Served]:
    name = f"rental_api_{uuid4().hex[:8]}"
    with psycopg.connect(postgres.primary_admin_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        url = postgres.url("primary", "postgres", name)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(VEHICLES)
        engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1), pool_size=3)
        bound = listening()
        address = f"http://127.0.0.1:{bound.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(create_app(engine, lambda: address), log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, args=([bound],))
        thread.start()
        yield Served(address, engine)
        server.should_exit = True
        thread.join(30)
        engine.dispose()
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _samples(served: Served) -> dict[str, float]:
    lines = httpx.get(f"{served.url}/metrics", trust_env=False).text.splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line and line[0] != "#"}


def test_riders_are_served_and_counted_by_route_status_and_target(served: Served) -> None:
    stop, seen = threading.Event(), []
    rider = threading.Thread(target=lambda: seen.append(ride_on(served.url, stop, per_s=40, seed=7)))
    rider.start()
    stop.wait(6)
    stop.set()
    rider.join(30)
    (statuses,) = seen
    assert statuses[200] > 20 and statuses[0] == 0, statuses
    found = _samples(served)

    def total(name: str, **labels: str) -> float:
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(n for key, n in found.items() if key.startswith(f"{name}{{") and all(w in key for w in wanted))

    assert total("http_requests_total", handler="/zones/{zone}/vehicles", status="2xx") > 0
    assert total("http_requests_total") >= sum(statuses.values())
    assert total("http_request_duration_seconds_bucket", le="+Inf") > 0
    asked = total("external_requests_total", target="payment")
    assert asked >= statuses[204] > 0
    assert total("external_request_seconds_count", target="payment") == asked
    assert total("db_client_connections_usage", pool_name="primary") >= 1
    with served.engine.connect() as connection:
        kept = connection.exec_driver_sql("SELECT count(*) FROM reservations").scalar_one()
    assert kept == total("external_requests_total", target="payment", outcome="success") - statuses[204]


def test_a_request_has_one_id_in_answer_and_log(served: Served, capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("rental-api", "json")
    answer = httpx.get(f"{served.url}/vehicles/nobody", headers={"X-Request-ID": "ride-4711"}, trust_env=False)
    assert (answer.status_code, answer.headers["X-Request-ID"]) == (404, "ride-4711")
    made = httpx.get(f"{served.url}/healthz", headers={"X-Request-ID": "x" * 65}, trust_env=False)
    assert re.fullmatch("[0-9a-f]{32}", made.headers["X-Request-ID"])
    lines = {line["request"]: line for line in map(json.loads, capfd.readouterr().err.splitlines())}
    assert (lines["ride-4711"]["event"], lines["ride-4711"]["status"]) == ("request", 404)
    assert made.headers["X-Request-ID"] in lines
