"""Telemetry of the vehicles."""

from datetime import timedelta

from fleetgauge.ingest import Consumer

consumer = Consumer(
    name="device-events",
    topic="device-events",
    contracts=("location", "battery", "device_error", "tip_over", "odometer"),
    index="device-events",
    retention=timedelta(days=90),  # exact positions are personal data
)
