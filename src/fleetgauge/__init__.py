"""fleetgauge: fleet telemetry and business data into service metrics, apart from the production database."""

__version__ = "0.1.0"
