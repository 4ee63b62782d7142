"""What the heartbeat of a source says of its clock and its replica, whatever database has it."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from fleetgauge.clock import SystemClock
from fleetgauge.progress.heartbeat import ClockSteps, SourceWatermark
from fleetgauge.rollup.operating.findings import Status
from fleetgauge.rollup.plan.clock_bounds import UNSEEN_STEP

STALE = timedelta(seconds=30)
"""An older heartbeat means that production's job stands still, or the replica is behind."""


def heartbeat(
    source_watermark: SourceWatermark | None,
    tolerance: timedelta,
    *,
    scripts: str,
    open_ones: str,
    declared: bool = False,
) -> Iterator[tuple[Status, str, str]]:
    """Status, what is so, what to do. `scripts`: the folder of what the DBA runs; `open_ones`: where the primary lists
    transactions; `declared`: there is no heartbeat, and how long a transaction lives is a setting."""
    if source_watermark is None:
        yield "fail", "shows no heartbeat", f"let production call fleetgauge_beat() every few seconds ({scripts})"
        return
    now = SystemClock().now()
    if source_watermark.clock is not None:
        yield skew("its host's clock", source_watermark.clock - now, tolerance)
    age = now - source_watermark.heartbeat_at
    if age < -tolerance:
        said = f"its heartbeat lies {-age.total_seconds():.0f} s in the future, so that runs refuse it"
        yield "fail", said, "set the clock of the primary right (NTP), or this machine's"
    else:
        remedy = "see whether production's job runs and the replica keeps up"
        old = max(0.0, age.total_seconds())
        yield "ok" if age <= STALE else "warn", f"its heartbeat is {old:.0f} s old", remedy
    if not declared:
        yield _steps(source_watermark.steps, now, scripts)
    held = source_watermark.heartbeat_at - source_watermark.at
    if not declared and held > timedelta(minutes=10):
        since = f"{source_watermark.at:%Y-%m-%dT%H:%MZ}"
        said = f"a transaction on the primary is open since {since}; nothing later can be final"
        yield "warn", said, f"look for it in the primary's {open_ones}"


def _steps(steps: ClockSteps | None, now: datetime, scripts: str) -> tuple[Status, str, str]:
    if steps is None:
        said = "its heartbeat does not remember when its clock was set back; what is hidden by a step of more than"
        said += f" {UNSEEN_STEP.total_seconds():.0f} s there and back between two runs, only reconcile finds"
        return "warn", said, f"run {scripts}/02_heartbeat.sql again on the primary"
    if steps.earliest is None or steps.earliest < now - timedelta(hours=1):
        return "ok", "its clock was not set back in the last hour", ""
    said = f"its clock was set back in the last hour, to {steps.earliest:%Y-%m-%dT%H:%M:%SZ}; runs read changes again"
    return "warn", f"{said} from there", "look why the primary's clock steps (NTP should slew it)"


def skew(whose: str, ahead: timedelta, tolerance: timedelta) -> tuple[Status, str, str]:
    """Of a clock that is `ahead` of this machine's."""
    way = "behind" if ahead < timedelta() else "ahead of"
    said = f"{whose} is {abs(ahead.total_seconds()):.1f} s {way} this machine's"
    return "ok" if abs(ahead) <= tolerance else "fail", said, "set the one that is wrong right (NTP)"
