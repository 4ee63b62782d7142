"""The notebook answers the three questions with the numbers of the metrics database; it is kept without outputs."""

import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import nbformat
import psycopg
import pytest
from dashboard_world import Filled
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

NOTEBOOK = Path(__file__).parents[3] / "notebooks" / "three_questions.ipynb"
TELL = """
import json
print(json.dumps({
    "commands": {name: [int(row["requested"]), int(row["unsuccessful"])] for name, row in totals.iterrows()},
    "costs": {name: str(krw) for name, krw in costs["cost_krw"].items()},
    "suspects": suspects["vehicle"].tolist(),
}))
"""


def test_it_answers_with_the_numbers_of_the_database(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETGAUGE_METRICS__URL", filled.analyst_url)
    monkeypatch.setenv("UNTIL", filled.now.isoformat())
    monkeypatch.setenv("DAYS", "2")
    book = nbformat.read(NOTEBOOK, as_version=4)
    assert [cell.outputs for cell in book.cells if cell.cell_type == "code" and cell.outputs] == []
    book.cells.append(new_code_cell(TELL))
    with psycopg.connect(filled.settings.metrics.url.get_secret_value(), autocommit=True) as writer:
        writer.execute(
            "INSERT INTO fleetgauge.suspect_vehicle_day (date, vehicle, method, prior, points, reasons, evidence)"
            " VALUES (current_date, 'aged', 'm', -3, 5, '{stood}', '{}'),"
            " (current_date, 'well', 'm', -3, 1, '{}', '{}')"
        )
        try:
            NotebookClient(book, timeout=120, kernel_name="python3").execute()
        finally:
            writer.execute("DELETE FROM fleetgauge.suspect_vehicle_day WHERE method = 'm'")
        span = [filled.now - timedelta(days=2), filled.now]
        commands = writer.execute(
            "SELECT command_type, sum(requested)::int, sum(unsuccessful)::int"
            " FROM metrics.device_command_range(%s, %s, 'day') GROUP BY 1",
            span,
        ).fetchall()
        costs = writer.execute(
            "SELECT command_type, sum(cost_krw) FROM metrics.command_cost_range(%s, %s, 'day') GROUP BY 1", span
        ).fetchall()
    told = json.loads(book.cells[-1].outputs[0].text)
    assert told["commands"] == {name: [requested, failed] for name, requested, failed in commands}
    assert {name: Decimal(krw) for name, krw in told["costs"].items()} == dict(costs)
    assert told["suspects"] == ["aged"]
