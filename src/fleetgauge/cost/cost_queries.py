"""What the command line asks of the metrics database about cost: the bill for FOCUS, and what changes would save."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from pathlib import Path

from fleetgauge import postgres
from fleetgauge.cost.bill import bill_by_kind, sim_streams, stored_tariffs, usage_rows
from fleetgauge.cost.estimates import Estimate, estimate
from fleetgauge.cost.focus import Focus, focus_rows
from fleetgauge.cost.tariff import load_tariffs
from fleetgauge.cost.whatif import Change
from fleetgauge.settings import Settings


def focus(settings: Settings, month: date | None = None) -> list[Focus]:
    """The bill in the columns of FOCUS, of one month (its first day) or of all. Blocks."""
    with postgres.metrics(settings.metrics).session("export") as connection:
        rows = bill_by_kind(connection, month)
        return list(focus_rows(rows, stored_tariffs(connection)))


def whatif(
    settings: Settings,
    changes: Sequence[Change],
    new_tariffs: Path | None = None,
    begin: date | None = None,
    end: date | None = None,
) -> Estimate:
    """What changes of the traffic, or the tariffs of another folder of content, would save in a year. Blocks."""
    others = None if new_tariffs is None else load_tariffs(new_tariffs)
    with postgres.metrics(settings.metrics).session("whatif") as connection:
        usage, tariffs = usage_rows(connection, begin, end), stored_tariffs(connection)
        days = sorted({one.date for one in usage})
        if begin is None and len(days) > 1:  # counting may have begun in the midst of the first
            first = days.pop(0)
            usage = [one for one in usage if one.date > first]
        carriers = {one.carrier for one in usage}
        by_sim = any(one.by_sim for one in (*tariffs, *(others or ())))
        sims = sim_streams(connection, days, carriers) if by_sim else []
    at = days[-1] if days else date(1970, 1, 1)
    return estimate(usage, tariffs, datetime.combine(at, time(12), UTC), changes, others, sims)
