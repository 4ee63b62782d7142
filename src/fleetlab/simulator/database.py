"""The company's operational database, as its own app declares it."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, DateTime, ForeignKey, Identity, Numeric, Text, Uuid, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

_INSTANT = DateTime(timezone=True)
_KRW = Numeric(12, 2)


class Base(DeclarativeBase):
    """Of all tables. Every row says when it was last written, by the clock of the transaction that wrote it."""

    updated_at: Mapped[datetime] = mapped_column(
        _INSTANT, server_default=func.now(), onupdate=func.now(), sort_order=99
    )


class VehicleModel(Base):
    """A type of scooter."""

    __tablename__ = "vehicle_models"
    code: Mapped[str] = mapped_column(Text, primary_key=True)
    maker: Mapped[str] = mapped_column(Text)
    max_speed_kmh: Mapped[int]


class Zone(Base):
    """A service zone."""

    __tablename__ = "zones"
    code: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    lat: Mapped[float]
    lng: Mapped[float]


class Carrier(Base):
    """A mobile carrier."""

    __tablename__ = "carriers"
    code: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text)


class Vehicle(Base):
    """A scooter and its device, as it is now. `code` is the device id in events."""

    __tablename__ = "vehicles"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    code: Mapped[str] = mapped_column(Text, unique=True)
    model_code: Mapped[str] = mapped_column(ForeignKey(VehicleModel.code))
    zone_code: Mapped[str] = mapped_column(ForeignKey(Zone.code))
    vehicle_state: Mapped[str] = mapped_column(Text)
    commissioned_at: Mapped[datetime] = mapped_column(_INSTANT)


class FirmwareHistory(Base):
    """Which version a vehicle runs, from when on."""

    __tablename__ = "firmware_history"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    vehicle_id: Mapped[int] = mapped_column(ForeignKey(Vehicle.id), index=True)
    version: Mapped[str] = mapped_column(Text)
    installed_at: Mapped[datetime] = mapped_column(_INSTANT)


class Sim(Base):
    """The SIM of a vehicle's device."""

    __tablename__ = "sims"
    iccid: Mapped[str] = mapped_column(Text, primary_key=True)
    carrier_code: Mapped[str] = mapped_column(ForeignKey(Carrier.code))
    vehicle_id: Mapped[int] = mapped_column(ForeignKey(Vehicle.id), index=True)
    activated_at: Mapped[datetime] = mapped_column(_INSTANT)


class Rider(Base):
    """A customer; who that is stands in another system."""

    __tablename__ = "riders"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    code: Mapped[str] = mapped_column(Text, unique=True)
    city_pass: Mapped[bool]
    signed_up_at: Mapped[datetime] = mapped_column(_INSTANT)


class Rental(Base):
    """A ride. Zone and model are those of the start and never change; times are the app's clock."""

    __tablename__ = "rentals"
    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    rider_id: Mapped[int] = mapped_column(ForeignKey(Rider.id))
    vehicle_id: Mapped[int] = mapped_column(ForeignKey(Vehicle.id))
    rider_rental: Mapped[int]
    """Which one of its rider's it is, written once: 1 for the first of their life."""
    zone_code: Mapped[str] = mapped_column(ForeignKey(Zone.code))
    model_code: Mapped[str] = mapped_column(ForeignKey(VehicleModel.code))
    started_at: Mapped[datetime] = mapped_column(_INSTANT, index=True)
    ended_at: Mapped[datetime | None] = mapped_column(_INSTANT)
    status: Mapped[str] = mapped_column(Text, CheckConstraint("status IN ('active', 'completed', 'refunded')"))
    distance_m: Mapped[int | None]
    fare_krw: Mapped[Decimal | None] = mapped_column(_KRW)
    refunded_at: Mapped[datetime | None] = mapped_column(_INSTANT)
    updated_at: Mapped[datetime] = mapped_column(
        _INSTANT, server_default=func.now(), onupdate=func.now(), index=True, sort_order=99
    )


class Payment(Base):
    """Money in (`charge`) and back (`refund`, a negative amount); of a `failed` one nothing was paid."""

    __tablename__ = "payments"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    rental_id: Mapped[str] = mapped_column(ForeignKey(Rental.id), index=True)
    kind: Mapped[str] = mapped_column(Text, CheckConstraint("kind IN ('charge', 'refund')"))
    status: Mapped[str] = mapped_column(Text, CheckConstraint("status IN ('paid', 'failed')"))
    amount_krw: Mapped[Decimal] = mapped_column(_KRW)
    paid_at: Mapped[datetime] = mapped_column(_INSTANT)


class UnlockRequest(Base):
    """A rider's request in the app to unlock a vehicle, and what became of it. Zone and model are those of the time."""

    __tablename__ = "unlock_requests"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    rider_id: Mapped[int] = mapped_column(ForeignKey(Rider.id))
    vehicle_id: Mapped[int] = mapped_column(ForeignKey(Vehicle.id))
    zone_code: Mapped[str] = mapped_column(ForeignKey(Zone.code))
    model_code: Mapped[str] = mapped_column(ForeignKey(VehicleModel.code))
    requested_at: Mapped[datetime] = mapped_column(_INSTANT)
    outcome: Mapped[str] = mapped_column(Text, CheckConstraint("outcome IN ('open', 'ride', 'failed', 'abandoned')"))


class VehicleStateLog(Base):
    """Each change of a vehicle's state, in the words of MDS 2.0."""

    __tablename__ = "vehicle_state_log"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    vehicle_id: Mapped[int] = mapped_column(ForeignKey(Vehicle.id), index=True)
    vehicle_state: Mapped[str] = mapped_column(Text)
    event_types: Mapped[list[str]] = mapped_column(ARRAY(Text))
    occurred_at: Mapped[datetime] = mapped_column(_INSTANT)
    rental_id: Mapped[str | None] = mapped_column(ForeignKey(Rental.id))
    zone_code: Mapped[str] = mapped_column(ForeignKey(Zone.code))
    lat: Mapped[float]
    lng: Mapped[float]
