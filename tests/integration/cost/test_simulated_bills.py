"""Whole companies through the rollup: the bill is the simulator's under every rounding, the right ones are named."""

from decimal import Decimal
from pathlib import Path

import duckdb
import psycopg
import pytest
from sim_rows import stale
from simulated_bills import SCOPES, SimulatedBill, simulated
from typer.testing import CliRunner

from fleetgauge import pipeline
from fleetgauge.cli.app import app
from fleetgauge.rollup import load_definitions, raise_failures
from fleetgauge.settings import MetricsSettings, Settings
from fleetlab.simulator import Scale, commands
from fleetlab.simulator.world import CURRENT, NEWEST, OLD

ROOT = Path(__file__).parents[3]
DEFINITIONS = load_definitions(ROOT, "0a0a0a0a")
PLANTED = {OLD: 0.050, CURRENT: 0.045, NEWEST: 0.140}
SEEDS = range(301, 321)
ALIKE = {OLD: 0.05, CURRENT: 0.05, NEWEST: 0.05}


def assert_right(company: SimulatedBill, folder: Path) -> None:
    """Counts and, under each rounding, cost to the step; and who costs most."""
    counts = {
        key: (cell.requested, cell.unsuccessful, cell.attempts)
        for key, cell in company.truth.command_counts("day", ("type", "model", "firmware", "carrier")).items()
    }
    rows = company.owner.execute(
        "SELECT window_start, command_type, vehicle_model, firmware, carrier, requested, unsuccessful, attempts"
        " FROM metrics.device_command_day WHERE requested > 0"
    ).fetchall()
    assert {row[:5]: row[5:] for row in rows} == counts
    for scope in SCOPES:
        company.under(folder, scope)
        tariffs = folder / "sql" / "tariffs"
        bill = company.truth.bill(tariffs)
        expected = {key: (one.messages, one.cost, one.unpriced) for key, one in bill.charges.items()}
        assert company.charged() == expected, scope
        kinds = company.kinds()
        usage = sum((one.cost for key, one in bill.charges.items() if key[2] == "usage"), Decimal(0))
        assert sum(kinds.values()) == usage > 0
        for key, cost in bill.kinds.items():
            assert abs(kinds[key] - cost) < Decimal("3.3"), (scope, key)  # less than a step
            assert scope != "message" or kinds[key] == cost
        top = company.reports()[0].costliest[0]
        assert (top.command_type, top.carrier) == company.dearest(tariffs), scope


def test_a_company_is_billed_to_the_step(
    bill: MetricsSettings, owner: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scale = Scale(vehicles=40, days=2, rate=6, live_seconds=0, seed=11)
    company = simulated(bill, owner, DEFINITIONS, scale, tmp_path / "truth.sqlite")
    assert_right(company, tmp_path)
    owner.execute("DELETE FROM fleetgauge.stored_month")
    assert stale(owner) > 0
    raise_failures(pipeline.runs(Settings(metrics=bill, content=ROOT), "hour", metrics=["traffic_sim"]))
    assert stale(owner) == 0, "a run keeps what SIMs used"
    monkeypatch.setenv("FLEETGAUGE_METRICS__URL", bill.url.get_secret_value())
    sums = {}
    for form in ("csv", "parquet"):
        file = tmp_path / "out" / f"mobile.{form}"
        file.parent.mkdir(exist_ok=True)
        said = CliRunner().invoke(app, ["export", "focus", "--out", str(file)])
        assert said.exit_code == 0, said.output
        query = f"SELECT sum(BilledCost::decimal(38, 9)), count(*), sum(x_UnpricedMessages) FROM '{file}'"
        sums[form] = duckdb.sql(query).fetchall()[0]
    costs, messages = zip(*((cost, unpriced) for _, cost, unpriced in company.charged().values()), strict=True)
    assert sums["csv"] == sums["parquet"]
    assert sums["csv"][0] == sum(costs) and sums["csv"][2] == sum(messages)
    assert {one.name for one in file.parent.iterdir()} == {"mobile.csv", "mobile.parquet"}
    refused = CliRunner().invoke(app, ["export", "focus", "--format", "parquet"])
    assert refused.exit_code != 0 and "--out FILE" in str(refused.exception)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", SEEDS)
def test_of_twenty_companies_the_right_ones_are_named(
    bill: MetricsSettings, owner: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """A company with a bad version, and the same one without, in which no version may be accused."""
    scale = Scale(vehicles=150, days=2, rate=10, live_seconds=0, seed=seed)
    monkeypatch.setattr(commands, "FIRMWARE_FAILURE", PLANTED)
    company = simulated(bill, owner, DEFINITIONS, scale, tmp_path / "planted.sqlite")
    assert_right(company, tmp_path)
    assert accused(company) == (NEWEST, {NEWEST})
    monkeypatch.setattr(commands, "FIRMWARE_FAILURE", ALIKE)
    company = simulated(bill, owner, DEFINITIONS, scale, tmp_path / "alike.sqlite", ("device_command",))
    assert accused(company) == (None, set())


def accused(company: SimulatedBill) -> tuple[str | None, set[str]]:
    """The worst version, and all that the report calls worse."""
    found = company.reports()[1]
    return found.worst, {one.firmware for one in found.comparisons if one.verdict == "worse"}


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_a_week_of_two_thousand_vehicles(bill: MetricsSettings, owner: psycopg.Connection, tmp_path: Path) -> None:
    scale = Scale(vehicles=2_000, days=7, rate=2.5, live_seconds=0, seed=341)
    company = simulated(bill, owner, DEFINITIONS, scale, tmp_path / "truth.sqlite")
    assert_right(company, tmp_path)
    assert accused(company) == (NEWEST, {NEWEST})
