"""The service's routes."""

import random
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import structlog
from fastapi import FastAPI, HTTPException, Request, Response
from prometheus_fastapi_instrumentator import Instrumentator
from pydantic import BaseModel, Field
from sqlalchemy import Engine, text

from fleetgauge.observability.logs import about
from fleetlab.rental_api.service_metrics import ServiceMetrics

log = structlog.get_logger(__name__)

PAYMENT_FAILS = 0.03
"""How often the simulated payment provider does not answer."""

TABLE = """
CREATE TABLE IF NOT EXISTS reservations (
    id uuid PRIMARY KEY, vehicle_code text NOT NULL, rider_code text NOT NULL,
    reserved_until timestamptz NOT NULL, updated_at timestamptz NOT NULL DEFAULT now()
)
"""


class Wish(BaseModel):
    """What a rider asks for."""

    vehicle: str = Field(max_length=64)
    rider: str = Field(max_length=64)


def create_app(engine: Engine, payment: Callable[[], str], seed: int = 1) -> FastAPI:
    """The service over the company's database. `payment` gives the address of the payment provider when it is asked.

    Makes its table; blocks for that. Requests have an id, taken from `X-Request-ID` or made, in answer and log.
    """
    with engine.begin() as connection:
        connection.execute(text(TABLE))
    metrics, dice = ServiceMetrics(engine), random.Random(seed)
    client = httpx.Client(timeout=2.0, trust_env=False)
    app = FastAPI(title="Rental API", openapi_url=None)
    Instrumentator(registry=metrics.registry, excluded_handlers=["/metrics", "/provider/.*"]).instrument(app).expose(
        app, include_in_schema=False
    )

    @app.middleware("http")
    async def identified(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        found = request.headers.get("X-Request-ID", "")
        name = found if found.isascii() and found.isprintable() and 0 < len(found) <= 64 else uuid.uuid4().hex
        began = time.perf_counter()
        with about(request=name):
            try:
                response = await answer(request)
            except Exception:
                log.exception("request failed", method=request.method, path=request.url.path)
                response = Response(status_code=500)
            if request.url.path != "/metrics":
                took = round(time.perf_counter() - began, 4)
                told = {"method": request.method, "path": request.url.path, "status": response.status_code}
                (log.warning if response.status_code >= 500 else log.info)("request", **told, seconds=took)
        response.headers["X-Request-ID"] = name
        return response

    @app.get("/healthz")
    def healthy() -> dict[str, str]:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
        return {"status": "ok"}

    @app.get("/zones/{zone}/vehicles")
    def vehicles(zone: str) -> list[str]:
        with engine.connect() as connection:
            found = connection.execute(
                text(
                    "SELECT code FROM vehicles WHERE zone_code = :zone AND vehicle_state = 'available'"
                    " ORDER BY code LIMIT 20"
                ),
                {"zone": zone},
            )
            return [row.code for row in found]

    @app.get("/vehicles/{vehicle}")
    def vehicle_of(vehicle: str) -> dict[str, Any]:
        with engine.connect() as connection:
            row = connection.execute(
                text("SELECT code, model_code, zone_code, vehicle_state FROM vehicles WHERE code = :code"),
                {"code": vehicle},
            ).one_or_none()
        if row is None:
            raise HTTPException(404, f"no vehicle {vehicle}")
        return dict(row._mapping)

    @app.post("/reservations", status_code=201)
    def reserve(wish: Wish) -> dict[str, str]:
        vehicle_of(wish.vehicle)
        try:
            with metrics.call("payment"):
                client.post(f"{payment()}/provider/authorisations").raise_for_status()
        except httpx.HTTPError as error:
            log.warning("the payment provider did not answer", error=type(error).__name__)
            raise HTTPException(502, "payment is not available; try again") from None
        made = str(uuid.uuid4())
        with engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO reservations (id, vehicle_code, rider_code, reserved_until)"
                    " VALUES (:id, :vehicle, :rider, now() + interval '10 minutes')"
                ),
                {"id": made, "vehicle": wish.vehicle, "rider": wish.rider},
            )
        return {"id": made}

    @app.delete("/reservations/{reservation}", status_code=204)
    def give_up(reservation: uuid.UUID) -> None:
        with engine.begin() as connection:
            gone = connection.execute(text("DELETE FROM reservations WHERE id = :id"), {"id": reservation})
        if not gone.rowcount:
            raise HTTPException(404, "no such reservation")

    @app.post("/provider/authorisations")
    def authorise() -> dict[str, str]:
        """The payment provider: another service, which answers here since the laboratory has but one process for it."""
        time.sleep(dice.uniform(0.01, 0.06))
        if dice.random() < PAYMENT_FAILS:
            raise HTTPException(503, "simulated outage")
        return {"status": "authorised"}

    return app
