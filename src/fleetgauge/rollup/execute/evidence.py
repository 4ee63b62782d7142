"""What the clocks say, asked together: the worker's, the metrics database's, and of a replica its host's."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fleetgauge.postgres import Connection, only_row
from fleetgauge.progress.clock_samples import Clocks
from fleetgauge.progress.heartbeat import SourceWatermark
from fleetgauge.rollup.execute.options import RunOptions
from fleetgauge.rollup.plan.clock_bounds import TOLERANCE, refusal


def now(connection: Connection[Any]) -> datetime:
    """What the metrics database's clock says."""
    found: datetime = only_row(connection.execute("SELECT clock_timestamp()"))[0]
    return found


def read_clocks(
    clocks: Clocks, source: str, source_watermark: SourceWatermark, options: RunOptions
) -> Mapping[str, datetime]:
    """All clocks at the moment of a look; none where they are not compared."""
    if options.tolerance is None:
        return {}
    if source_watermark.clock is not None:
        clocks.note(f"the host of {source}", source_watermark.clock)
    return clocks.now()


def unbelievable(clocks: Clocks, source: str, source_watermark: SourceWatermark, options: RunOptions) -> str | None:
    """What to say when a look's clock cannot be right, as its plan would; None if it can."""
    readings = read_clocks(clocks, source, source_watermark, options)
    return refusal(source, source_watermark.heartbeat_at, readings, options.tolerance or TOLERANCE)
