"""Telemetry of the vehicles."""

from fleetgauge.ingest import Consumer

consumer = Consumer(
    name="device-events",
    topic="device-events",
    contracts=("location", "battery", "device_error", "tip_over", "odometer"),
    index="device-events",
)
