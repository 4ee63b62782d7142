"""The demo's comparisons of business and operations, on a filled database: they agree, and they can disagree."""

from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from dashboard_world import Filled
from dashboards import queries

from fleetgauge.rollup import load_definitions
from fleetlab.demo import verify_company
from fleetlab.demo.books import Books
from fleetlab.demo.verify import GRAINS, Aggregates
from fleetlab.demo.verify_dashboards import Cells, Looked, Operations, Page
from fleetlab.demo.verify_dashboards import dashboards as of_dashboards
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


def test_operations_shows_what_the_books_say(filled: Filled, truth: Truth) -> None:
    """Over an hour to half a year, of all zones and of some. What devices report: `test_dashboards_by_books`."""
    graces = {name: one.grace for name, one in load_definitions(ROOT).items()}
    settled = filled.now - timedelta(minutes=10)
    with psycopg.connect(filled.grafana_url, autocommit=True) as grafana:
        found = of_dashboards(grafana, truth, Books(truth, settled, graces), ROOT, queries, settled)
    of_operations = [one for one in found if one.name.startswith("fleetgauge-operations")]
    assert len(of_operations) == 13
    assert [one for one in of_operations if one.differences] == []
    assert [one.name for one in of_operations if not one.compared] == [
        "fleetgauge-operations: State of charge per $sample: p10 and median"
    ]


def test_a_number_that_is_not_that_of_the_books_is_told(filled: Filled, truth: Truth) -> None:
    settled = filled.now - timedelta(minutes=10)
    with psycopg.connect(filled.grafana_url, autocommit=True) as grafana:
        looked = Looked(grafana, ROOT / "dashboards" / "generated", queries, settled.replace(minute=0, second=0))
        right = Operations(truth).expected

        def wrong(page: Page) -> dict[str, Cells]:
            return {name: {key: n + 1 for key, n in cells.items()} for name, cells in right(page).items()}

        found = looked.at("fleetgauge-operations", "zone", wrong)
    assert all(one.differences for one in found if one.compared)
