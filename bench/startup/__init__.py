"""What an installation costs: packages, size on disk, and the start of `fleetgauge consume --help`."""
