"""What analysts import: numbers of the metrics database as pandas' data frames. Needs the extra [analytics].

>>> from fleetgauge import analytics
>>> analytics.metrics()
>>> analytics.read("rental", "day", "2026-11-01", "2026-12-01", by=["zone"], where={"vehicle_model": "g30-max"})
"""

from fleetgauge.analytics.frames import describe, metrics, read

__all__ = ["describe", "metrics", "read"]
