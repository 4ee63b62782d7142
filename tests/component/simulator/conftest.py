"""Small companies to look at, planned once for the whole run."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleetlab.simulator import Scale, Timeline, Truth
from fleetlab.simulator.ledger import Ledger
from fleetlab.simulator.records import Record

TUESDAY_EVENING = datetime(2026, 11, 17, 11, 30, tzinfo=UTC)


@pytest.fixture(scope="session")
def tuesday() -> datetime:
    """20:30 in Seoul, on a working day."""
    return TUESDAY_EVENING


@pytest.fixture(scope="session")
def small() -> Timeline:
    """A day of a small company, with a live stretch."""
    return Timeline.ending(Scale(vehicles=150, days=1, rate=3, live_seconds=600, live_factor=20), TUESDAY_EVENING)


@pytest.fixture(scope="session")
def small_backlog(small: Timeline) -> list[Record]:
    """All records of its backlog, in append order."""
    return [record for part in small.backlog() for record in part]


@pytest.fixture(scope="session")
def small_truth_path(small: Timeline, small_backlog: list[Record], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its truth, as if Kafka had numbered the backlog's records one after another."""
    path = tmp_path_factory.mktemp("truth") / "truth.sqlite"
    with Ledger.create(path, small) as ledger:
        ledger.done(a for a in small.actions() if a.at_ms <= small.live_ms)
        half = len(small_backlog) // 2
        ledger.sent(small_backlog[:half], range(half))
        ledger.sent(small_backlog[half:], range(half, len(small_backlog)))
        ledger.finish()
    return path


@pytest.fixture
def small_truth(small_truth_path: Path) -> Truth:
    """The small company's truth, open for questions."""
    return Truth(small_truth_path)
