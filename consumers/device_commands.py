"""Commands to the vehicles and their answers."""

from fleetgauge.ingest import Consumer

consumer = Consumer(
    name="device-commands",
    topic="device-commands",
    contracts=("command", "command_response"),
    index="device-commands",
)
