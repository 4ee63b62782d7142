"""What a cursor remembers of its source's clock being set back, for sources whose heartbeat counts that."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import structlog

from fleetgauge.progress.heartbeat import SourceWatermark
from fleetgauge.rollup.values import Cursor

log = structlog.get_logger(__name__)

_STEPS = "set_back"
"""What a cursor notes: how often the source's clock had been set back."""
_FARTHEST_STEP = timedelta(hours=1)
_BETWEEN_HEARTBEATS = timedelta(seconds=30)
"""How long before the first heartbeat after it a clock may have been set back."""


def token_of(source_watermark: SourceWatermark | None) -> Mapping[str, Any] | None:
    """For the next cursor; None where nobody remembers."""
    steps = None if source_watermark is None else source_watermark.steps
    return None if steps is None else {_STEPS: steps.count}


def before_steps(metric: str, since: Cursor, source_watermark: SourceWatermark | None) -> datetime:
    """The cursor, or where the source's clock was set back to since it was written: rows carry such times."""
    steps = None if source_watermark is None else source_watermark.steps
    known = (since.token or {}).get(_STEPS)
    if steps is None or steps.earliest is None or known is None or known == steps.count:
        return since.at
    earliest = max(steps.earliest - _BETWEEN_HEARTBEATS, since.at - _FARTHEST_STEP)
    log.warning(
        "the source's clock was set back since the last run; changes are read again from there",
        metric=metric,
        set_back_to=steps.earliest.isoformat(),
    )
    return min(since.at, earliest)
