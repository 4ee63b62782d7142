"""The demo's comparisons of business and operations, on a filled database: they agree, and they can disagree."""

from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from dashboard_world import Filled

from fleetgauge.rollup import load_definitions
from fleetlab.demo import verify_company
from fleetlab.demo.books import Books
from fleetlab.demo.verify import GRAINS, Aggregates
from fleetlab.simulator import Scale, Timeline, Truth
from fleetlab.simulator.ledger import Ledger

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def truth(filled: Filled, tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """The books of the company that the database was filled with."""
    plan = Timeline.ending(Scale(vehicles=40, days=3, rate=25, live_seconds=0), filled.now)
    path = tmp_path_factory.mktemp("books") / "truth.sqlite"
    with Ledger.create(path, plan) as ledger:
        ledger.done(action for action in plan.actions() if action.at_ms <= plan.live_ms)
    return Truth(path)


@pytest.mark.parametrize("grain", GRAINS)
def test_what_was_rolled_up_is_what_the_books_say(filled: Filled, truth: Truth, grain: str) -> None:
    graces = {name: one.grace for name, one in load_definitions(ROOT).items()}
    books = Books(truth, filled.now - timedelta(hours=1), graces)
    with psycopg.connect(filled.analyst_url) as analyst:
        aggregates = Aggregates(analyst, books)
        found = [
            *verify_company.business(aggregates, truth, grain),  # type: ignore[arg-type]
            *verify_company.operations(aggregates, truth, grain),  # type: ignore[arg-type]
        ]
    assert [one for one in found if one.differences] == []
    assert all(one.compared for one in found)
