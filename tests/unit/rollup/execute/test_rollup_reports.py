"""How a run paces itself, and what its report says."""

import json
from datetime import UTC, datetime

import pytest

from fleetgauge.errors import Stop, Terminal, Transient
from fleetgauge.progress.pace import Pace
from fleetgauge.rollup.execute.report import RunReport, raise_failures
from fleetgauge.rollup.values import BlockedCell


def test_pace_shrinks_waits_and_gives_up() -> None:
    waits: list[float] = []
    pace = Pace(1000, rows_aimed=100, tries=4, pause_s=0.5, sleep=waits.append)
    error = Transient("x")
    for size in (250, 62, 15):
        pace.failed(error)
        assert pace.size == size
    assert waits == [0.5, 1.0, 2.0]
    pace.succeeded(10)
    assert pace.size == 30
    pace.succeeded(75)
    assert pace.size == 30
    pace.succeeded(500)
    assert pace.size == 15
    for _ in range(3):
        pace.failed(error)  # the count began anew
    with pytest.raises(Transient):
        pace.failed(error)
    assert pace.size >= 1


def test_a_report_is_json() -> None:
    at = datetime(2026, 11, 21, tzinfo=UTC)
    report = RunReport(
        "m",
        "v",
        "minute",
        watermark=at,
        closed_until={"minute": at},
        blocked=(BlockedCell(at, (("zone", "z"),), "a < b", retry_at=at),),
    )
    plain = json.loads(json.dumps(report.to_dict()))
    assert plain["watermark"] == "2026-11-21T00:00:00+00:00"
    assert plain["blocked"] == [
        {
            "window_start": "2026-11-21T00:00:00+00:00",
            "dimensions": {"zone": "z"},
            "check": "a < b",
            "tries": 1,
            "retry_at": "2026-11-21T00:00:00+00:00",
            "frozen": False,
        }
    ]


def test_failures_are_raised_together_as_the_gravest() -> None:
    def failed(metric: str, severity: str) -> RunReport:
        return RunReport(metric, "v", "minute", error=f"{metric} broke", severity=severity)  # type: ignore[arg-type]

    raise_failures([RunReport("fine", "v", "minute")])
    blocked = RunReport("b", "v", "minute", blocked=(BlockedCell(datetime(2026, 1, 1, tzinfo=UTC), (), "x < y"),))
    lost = BlockedCell(datetime(2026, 1, 1, tzinfo=UTC), (), "x < y", frozen=True)
    raise_failures([RunReport("f", "v", "minute", blocked=(lost,))])
    with pytest.raises(Transient):
        raise_failures([failed("t", "transient")])
    with pytest.raises(Terminal, match=r"check 'x < y' is broken in 1 cell.*metric t"):
        raise_failures([failed("t", "transient"), blocked])
    with pytest.raises(Stop, match=r"metric s.*metric b.*metric t"):
        raise_failures([failed("t", "transient"), blocked, failed("s", "stop")])
