"""The company's app at its database: set-up, the history up to the live stretch by COPY, then ordinary transactions."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import Engine, create_engine, inspect, make_url, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from fleetgauge.errors import Terminal, Transient
from fleetlab.simulator import world
from fleetlab.simulator.database import Base, Payment, Rental, UnlockRequest, Vehicle, VehicleStateLog
from fleetlab.simulator.timeline import Action, Timeline

_Row = Sequence[object]


def app_engine(url: str) -> Engine:
    """The app's connection pool."""
    return create_engine(
        make_url(url).set(drivername="postgresql+psycopg"), connect_args={"application_name": "scooter-app"}
    )


def create_schema(engine: Engine) -> None:
    """The app's tables, made as the app's login. Raises `Terminal` when a company lives there already."""
    try:
        if inspect(engine).has_table(Rental.__tablename__):
            with Session(engine) as session:
                if session.query(Rental.id).first() is not None:
                    raise Terminal(
                        "the operational database already holds rentals; simulate into an empty stack"
                        " (fleetlab down --wipe, then fleetlab up)"
                    )
        Base.metadata.create_all(engine)
    except OperationalError as error:
        raise Transient(f"the operational database cannot be reached ({error.orig}); is the stack up?") from error


def run_source_sql(dba_url: str, folder: Path) -> None:
    """What the production DBA runs once: every file of `sql/source`, as a superuser. Harmless when repeated."""
    files = sorted(folder.glob("*.sql"))
    if not files:
        raise Terminal(f"{folder} holds no .sql file; run from the project's folder or name sql/source")
    try:
        connection = psycopg.connect(dba_url, autocommit=True, application_name="scooter-dba")
    except psycopg.OperationalError as error:
        raise Transient(f"the operational database cannot be reached ({error}); is the stack up?") from error
    with connection:
        for path in files:
            for statement in statements(path.read_text()):
                try:
                    connection.execute(statement)
                except psycopg.Error as error:
                    raise Terminal(
                        f"{path.name} failed on the primary: {error}; was the stack set up by fleetlab?"
                    ) from error


def statements(text: str) -> Iterator[bytes]:
    """The statements of a file, one by one as psql sends them; a semicolon ends one only at a line's end outside $$."""
    lines: list[str] = []
    quoted = False
    for line in text.splitlines():
        lines.append(line)
        quoted ^= line.count("$$") % 2 == 1
        code = line.split("--")[0].rstrip()
        if code.endswith(";") and not quoted:
            yield "\n".join(lines).encode()
            lines.clear()


def copy_history(url: str, plan: Timeline) -> int:
    """Everything as it stands at `plan.live_from`, with the `updated_at` of its last change; returns how many rows."""
    total = 0
    with psycopg.connect(url, application_name="scooter-app") as connection, connection.cursor() as cursor:
        for table, columns, rows in _history(plan):
            target = sql.SQL("COPY {} ({}) FROM STDIN").format(
                sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns.split()))
            )
            with cursor.copy(target) as copy:
                for row in rows:
                    copy.write_row(row)
                    total += 1
        connection.commit()
        for table in Base.metadata.tables:
            connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))
    return total


def _history(plan: Timeline) -> Iterator[tuple[str, str, Iterable[_Row]]]:
    begun, now_ms = plan.start, plan.live_ms
    vehicles, trips = plan.world.vehicles, plan.trips
    yield (
        "vehicle_models",
        "code maker max_speed_kmh updated_at",
        [(m.code, m.maker, m.max_speed_kmh, begun) for m in world.MODELS],
    )
    yield "zones", "code name lat lng updated_at", [(z.code, z.name, z.lat, z.lng, begun) for z in world.ZONES]
    yield "carriers", "code name updated_at", [(c.code, c.name, begun) for c in (*world.CARRIERS, world.ROAMING)]
    last = {v.number: trips.last_state(v, now_ms) for v in vehicles}
    yield (
        "vehicles",
        "id code model_code zone_code vehicle_state commissioned_at updated_at",
        (
            (
                v.number,
                v.code,
                v.model.code,
                s.zone.code if s else v.zone.code,
                s.state if s else "available",
                instant(v.commissioned_ms),
                instant(s.at_ms) if s else begun,
            )
            for v in vehicles
            for s in (last[v.number],)
        ),
    )
    yield (
        "firmware_history",
        "vehicle_id version installed_at updated_at",
        (
            (v.number, version, instant(at), instant(at))
            for v in vehicles
            for at, version in zip(v.firmware_since, v.firmware, strict=True)
            if at <= now_ms
        ),
    )
    yield (
        "sims",
        "iccid carrier_code vehicle_id activated_at updated_at",
        ((v.iccid, v.carrier.code, v.number, instant(v.commissioned_ms), begun) for v in vehicles),
    )
    yield (
        "riders",
        "id code city_pass signed_up_at updated_at",
        ((r.number, r.code, r.city_pass, instant(r.signed_up_ms), begun) for r in plan.world.riders),
    )
    started = [r for r in trips.rentals if r.started_ms <= now_ms]
    yield (
        "rentals",
        "id rider_id rider_rental vehicle_id zone_code model_code started_at ended_at status distance_m fare_krw"
        " refunded_at updated_at",
        (
            (
                r.id,
                r.rider.number,
                plan.app_records[r.number].rider_rental,
                r.vehicle.number,
                r.zone.code,
                r.vehicle.model.code,
                instant(r.started_ms),
                instant(r.ended_ms) if ended else None,
                "refunded" if refunded else "completed" if ended else "active",
                r.distance_m if ended else None,
                r.fare_krw if ended else None,
                instant(r.refunded_ms) if refunded and r.refunded_ms else None,
                instant(r.refunded_ms if refunded and r.refunded_ms else r.ended_ms if ended else r.started_ms),
            )
            for r in started
            for ended in (r.ended_ms <= now_ms,)
            for refunded in (r.refunded_ms is not None and r.refunded_ms <= now_ms,)
        ),
    )
    ended = [r for r in started if r.ended_ms <= now_ms]
    paid = [
        (r, "charge", "failed", r.fare_krw, r.ended_ms)
        for r in ended
        for _ in range(plan.app_records[r.number].refused_charges)
    ]
    paid += [(r, "charge", "paid", r.fare_krw, r.ended_ms) for r in ended]
    paid += [
        (r, "refund", "paid", -r.fare_krw, r.refunded_ms)
        for r in started
        if r.refunded_ms is not None and r.refunded_ms <= now_ms
    ]
    yield (
        "payments",
        "rental_id kind status amount_krw paid_at updated_at",
        (
            (r.id, kind, status, amount, instant(at), instant(at))
            for r, kind, status, amount, at in sorted(paid, key=lambda p: p[4])
        ),
    )
    yield (
        "unlock_requests",
        "rider_id vehicle_id zone_code model_code requested_at outcome updated_at",
        (
            (
                r.rider.number,
                r.vehicle.number,
                one.zone,
                one.model,
                instant(one.requested_ms),
                one.outcome,
                instant(r.started_ms),
            )
            for r in started
            for one in plan.app_records[r.number].requests
        ),
    )
    yield (
        "vehicle_state_log",
        "vehicle_id vehicle_state event_types occurred_at rental_id zone_code lat lng updated_at",
        (
            (
                s.vehicle.number,
                s.state,
                list(s.events),
                instant(s.at_ms),
                s.rental.id if s.rental else None,
                s.zone.code,
                *s.location,
                instant(s.at_ms),
            )
            for s in trips.states
            if s.at_ms <= now_ms
        ),
    )


def apply(session: Session, action: Action) -> None:
    """One live action, in the session's transaction; `updated_at` becomes the database's now()."""
    rental, change, records = action.rental, action.state, action.records
    if rental is not None:
        if action.kind == "start" and records is not None:
            session.add(
                Rental(
                    id=rental.id,
                    rider_id=rental.rider.number,
                    rider_rental=records.rider_rental,
                    vehicle_id=rental.vehicle.number,
                    zone_code=rental.zone.code,
                    model_code=rental.vehicle.model.code,
                    started_at=instant(rental.started_ms),
                    status="active",
                )
            )
            session.add_all(
                UnlockRequest(
                    rider_id=rental.rider.number,
                    vehicle_id=rental.vehicle.number,
                    zone_code=one.zone,
                    model_code=one.model,
                    requested_at=instant(one.requested_ms),
                    outcome=one.outcome,
                )
                for one in records.requests
            )
            return
        row = session.get_one(Rental, rental.id)
        amount = Decimal(rental.fare_krw)
        if action.kind == "end":
            row.status, row.ended_at = "completed", instant(rental.ended_ms)
            row.distance_m, row.fare_krw = rental.distance_m, amount
        else:
            row.status, row.refunded_at = "refunded", instant(action.at_ms)
            amount = -amount
        refused = 0 if records is None else records.refused_charges
        session.add_all(
            Payment(
                rental_id=rental.id,
                kind="charge" if action.kind == "end" else "refund",
                status=status,
                amount_krw=amount,
                paid_at=instant(action.at_ms),
            )
            for status in (*["failed"] * refused, "paid")
        )
    elif change is not None:
        session.add(
            VehicleStateLog(
                vehicle_id=change.vehicle.number,
                vehicle_state=change.state,
                event_types=list(change.events),
                occurred_at=instant(change.at_ms),
                rental_id=change.rental.id if change.rental else None,
                zone_code=change.zone.code,
                lat=change.location[0],
                lng=change.location[1],
            )
        )
        session.execute(
            update(Vehicle)
            .where(Vehicle.id == change.vehicle.number)
            .values(vehicle_state=change.state, zone_code=change.zone.code)
        )


def instant(ms: int) -> datetime:
    """Milliseconds since the epoch as an aware datetime in UTC, exactly."""
    return datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000)
