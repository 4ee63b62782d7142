"""docs/cost.md says how a bill is computed; its figures are those that the code computes."""

import re
from datetime import date
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fleetgauge.cost.charges import Messages, SimDay, billed_steps, cost, shared_out, sim_charges
from fleetgauge.cost.tariff import Tariff, load_tariffs

PAGE = (Path(__file__).parents[3] / "docs" / "cost.md").read_text()
FEBRUARY = (date(2026, 2, 1), date(2026, 2, 28))


def section(title: str) -> str:
    return PAGE.split(f"## `{title}`\n")[1].split("\n## ")[0]


def table(text: str, first: str) -> list[dict[str, str]]:
    """The rows of the table whose first heading this is."""
    lines = text[text.index(f"| {first} |") :].split("\n\n")[0].splitlines()
    heads, _, *rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    return [dict(zip(heads, row, strict=True)) for row in rows]


def number(text: str) -> int:
    return int(text.replace(",", ""))


@pytest.fixture
def tariff_of(tmp_path):
    def read(title: str) -> Tariff:
        (block,) = re.findall("```yaml\n(.*?)```", section(title), re.DOTALL)
        folder = tmp_path / "sql" / "tariffs"
        folder.mkdir(parents=True)
        (folder / "page.yaml").write_text(block)
        (found,) = load_tariffs(tmp_path)
        return found

    return read


def usage(title: str) -> list[SimDay]:
    return [
        SimDay(date.fromisoformat(row["day"]), row["SIM"], "kt", int(row["messages"]), number(row["bytes"]))
        for row in table(section(title), "day")
    ]


def test_by_message(tariff_of) -> None:
    tariff = tariff_of("message")
    rows = table(section("message"), "message")
    assert len(rows) == 3
    for row in rows:
        size = number(row["bytes"])
        assert number(row["with overhead"]) == size + tariff.overhead_bytes
        assert int(row["steps"]) == billed_steps(size, tariff)
        assert Decimal(row["KRW"]) == int(row["steps"]) * tariff.price
    total = cost([Messages(tariff.valid_from, "lguplus", number(row["bytes"]), 1) for row in rows], [tariff])
    assert f"Together 5 steps, {total.billed_bytes} billed bytes, {total.amount} KRW" in section("message")


def test_by_sim_and_day(tariff_of) -> None:
    tariff = tariff_of("sim_day")
    rows = usage("sim_day")
    for row, said in zip(rows, table(section("sim_day"), "day"), strict=True):
        (alone,) = sim_charges([row], [tariff], ZoneInfo("Asia/Seoul"), FEBRUARY)
        assert number(said["with overhead"]) == row.bytes + row.messages * tariff.overhead_bytes
        assert int(said["steps"]) * tariff.step_bytes == alone.billed_bytes
        assert Decimal(said["KRW"]) == alone.usage
    days = {c.date.day: c.usage for c in sim_charges(rows, [tariff], ZoneInfo("Asia/Seoul"), FEBRUARY)}
    assert f"3 February costs {days[3]} KRW, 4 February {days[4]}." in section("sim_day")


def test_by_sim_and_month(tariff_of) -> None:
    tariff = tariff_of("sim_month")
    charges = sim_charges(usage("sim_month"), [tariff], ZoneInfo("Asia/Seoul"), FEBRUARY)
    by_day = {c.date: c for c in charges}
    to_date = Decimal(0)
    for row in table(section("sim_month"), "by the end of"):
        charge = by_day[date.fromisoformat(row["by the end of"])]
        to_date += charge.usage
        assert (Decimal(row["cost to date"]), Decimal(row["of the day"])) == (to_date, charge.usage)
        assert int(row["beyond the pool"]) * tariff.price == to_date
    fees = {c.base_fee for c in charges}
    total = sum(c.base_fee + c.usage for c in charges)
    assert (len(charges), fees, total) == (28, {Decimal(20)}, Decimal(561))
    assert "20 on each of 28 days. February: 561 KRW." in section("sim_month")


def test_what_is_charged_by_sim_is_shared_out(tariff_of) -> None:
    tariff = tariff_of("sim_day")
    text = PAGE.split("## Who bears what is charged by SIM\n")[1].split("\n## ")[0]
    rows = table(text, "kind")
    volumes = {row["kind"]: number(row["bytes"]) + int(row["messages"]) * tariff.overhead_bytes for row in rows}
    (said,) = re.findall(f"(\\d+) steps of {tariff.price} KRW are charged", text)
    steps = int(said)
    parts = shared_out(steps, volumes)
    for row in rows:
        kind, exact = row["kind"], Decimal(steps * volumes[row["kind"]]) / sum(volumes.values())
        assert number(row["with overhead"]) == volumes[kind]
        assert Decimal(row["part of 10 steps"]) == round(exact, 2)
        assert (int(row["rounded down"]), Decimal(row["remainder"])) == (int(exact), round(exact % 1, 2))
        assert (int(row["steps"]), Decimal(row["KRW"])) == (parts[kind], parts[kind] * tariff.price)


@given(st.integers(0, 10**9), st.dictionaries(st.integers(0, 20), st.integers(0, 10**9), min_size=1))
def test_parts_add_up_and_none_is_off_by_a_step(steps: int, volumes: dict[int, int]) -> None:
    assume(any(volumes.values()))
    parts, whole = shared_out(steps, volumes), sum(volumes.values())
    assert sum(parts.values()) == steps
    assert all(abs(parts[key] * whole - steps * volume) < whole for key, volume in volumes.items())
