"""Telemetry of the vehicles."""

from datetime import timedelta

from fleetgauge.ingest import Consumer, DeadLetterLimit

consumer = Consumer(
    name="device-events",
    topic="device-events",
    contracts=("location", "battery", "device_error", "tip_over", "odometer"),
    index="device-events",
    dead_letters=DeadLetterLimit(by="device.model"),  # one model with a wrong clock stops no other
    retention=timedelta(days=90),  # exact positions, which are personal data, go sooner: kept_days
)
