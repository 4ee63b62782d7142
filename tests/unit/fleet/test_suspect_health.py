"""What doctor says of suspects."""

from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from fleetgauge.fleet.suspect_health import findings

NOW = datetime(2026, 11, 22, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("row", "status", "words"),
    [
        (None, ["ok"], "no day"),
        ((date(2026, 11, 21), 500, 3), ["ok"], "up to 2026-11-21"),
        ((date(2026, 11, 19), 500, 3), ["warn", "ok"], "not known"),
        ((date(2026, 11, 21), 500, 300), ["warn"], "300 of 500"),
    ],
)
def test_late_days_and_deaf_ones_are_told(row: Any, status: list[str], words: str) -> None:
    cursor = SimpleNamespace(fetchone=lambda: row)
    connection: Any = SimpleNamespace(execute=lambda query: cursor)
    found = list(findings(connection, "Asia/Seoul", NOW))
    assert [one[0] for one in found] == status
    assert words in found[0][1]
    assert all((remedy == "") == (kind == "ok") for kind, _, remedy in found)
