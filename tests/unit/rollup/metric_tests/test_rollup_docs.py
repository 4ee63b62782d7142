"""The worked example of docs/how-a-number-is-made.md, and the metric of docs/adding-a-metric.md, are what they say."""

import re
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from fleetgauge.rollup import load_definitions
from fleetgauge.rollup.metric_tests import load_tests
from own_metrics import own_metrics

ROOT = Path(__file__).parents[4]
SEOUL = ZoneInfo("Asia/Seoul")


def table(page: str, mark: str) -> list[dict[str, str]]:
    """The table below `<!-- mark -->`; a cell that is left empty is not compared."""
    head, _, *rows = page.split(f"<!-- {mark} -->\n")[1].split("\n\n")[0].splitlines()
    names = [cell.strip() for cell in head.strip("|").split("|")]
    cells = [[cell.strip() for cell in row.strip().removeprefix("|").removesuffix("|").split("|")] for row in rows]
    return [{n: c for n, c in zip(names, row, strict=True) if c} for row in cells]


def shown(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone(SEOUL):%Y-%m-%d %H:%M:%S}"
    if value is None:
        return "NULL"
    return str(value).lower() if isinstance(value, bool) else f"{value}"


def same(cell: str, value: Any) -> bool:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Decimal(cell) == Decimal(str(value))
    return cell == shown(value)


@pytest.mark.parametrize("mark", ["given rentals", "expect minute", "expect hour", "expect day"])
def test_the_worked_example_is_the_tested_one(mark: str) -> None:
    page = (ROOT / "docs" / "how-a-number-is-made.md").read_text("utf-8")
    (test,) = load_tests(ROOT, [own_metrics()["rental"]])["rental"]
    part, name = mark.split()
    rows = getattr(test, part)[name]
    told = table(page, mark)
    assert len(told) == len(rows)
    for cells, row in zip(told, rows, strict=True):
        assert len(cells) > 3
        for column, cell in cells.items():
            assert column in row, f"{column} is not in the test"
            assert same(cell, row[column]), (column, cell, row[column])
    assert all(isinstance(row["date"], date) for row in test.expect["day"])


def test_the_metric_of_the_guide_is_valid(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "adding-a-metric.md").read_text("utf-8")
    source, definition, test = re.findall(r"```(?:sql|yaml)\n(.*?)```", page, re.DOTALL)
    folder = tmp_path / "sql" / "metrics" / "payment"
    (folder / "tests").mkdir(parents=True)
    (folder / "source.sql").write_text(source)
    (folder / "metric.yaml").write_text(definition)
    (folder / "tests" / "refund.yaml").write_text(test)
    definitions = load_definitions(tmp_path)
    assert [one.name for one in load_tests(tmp_path, definitions.values())["payment"]] == ["refund"]
