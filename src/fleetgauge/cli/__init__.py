"""The `fleetgauge` command: one file per command, registered in `app.py`."""

from fleetgauge.cli.app import main

__all__ = ["main"]
