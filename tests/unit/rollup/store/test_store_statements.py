"""What the writing side of a metric says to Postgres, beside what it said when somebody last read it.

One metric with every kind of measure; `UPDATE_GOLDEN=1` writes the files anew.
"""

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from fleetgauge.postgres import sql
from fleetgauge.rollup import Definition
from fleetgauge.rollup.operating.render import pretty
from fleetgauge.rollup.store.cell_sql import CellStatements
from fleetgauge.rollup.store.restatement_sql import RestatementStatements
from fleetgauge.rollup.store.store_sql import Statements
from fleetgauge.rollup.store.version_changes import compared

GOLDEN = Path(__file__).parent / "golden"
PLAIN: dict[str, Any] = {
    "metric": "ride",
    "source": "operations",
    "event_time": "at",
    "change_time": "changed_at",
    "immutable": "Facts stay where they are.",
    "grace": "1m",
    "dimensions": {"zone": {"column": "zone", "limit": 16}, "kind": {"column": "kind", "limit": 16}},
    "measures": {
        "n": {"agg": "count"},
        "amount": {"agg": "sum", "of": "amount", "type": "numeric"},
        "most": {"agg": "max", "of": "score", "type": "float"},
        "score": {"agg": "percentile", "of": "score"},
        "riders": {"agg": "distinct", "of": "rider"},
        "latest": {"agg": "last", "of": "amount", "type": "numeric"},
        "sizes": {"agg": "tally", "of": "size"},
        "share": {"agg": "ratio", "numerator": "amount", "denominator": "n"},
    },
    "rollups": {"by_zone": ["zone"]},
    "checks": {"fail": ["n >= 0"], "warn": ["amount <= 1000"]},
    "source_sql": "SELECT * FROM rides",
}
ADAPTER: TypeAdapter[Definition] = TypeAdapter(Definition)
ONE = ADAPTER.validate_python(PLAIN)
BEFORE = ADAPTER.validate_python({**PLAIN, "dimensions": {"zone": {"column": "zone", "limit": 16}}, "rollups": {}})


def statements() -> dict[str, sql.Composed | None]:
    """By name; of those for a level, the hour's and those of a subset of the dimensions."""
    store, told, cells = Statements(ONE), RestatementStatements(ONE), CellStatements(ONE)
    levels = {level.name: level for level in ONE.levels}
    minute, hour, subset = levels["minute"], levels["hour"], levels["by_zone_hour"]
    return {
        "broken_fail": store.broken(fail=True),
        "broken_warn": store.broken(fail=False),
        "withhold_staged": store.withhold_staged("minute"),
        "fill": store.fill(False),
        "fill_merged": store.fill(True),
        "clear_span_withholding": store.clear_span(minute, withholding=True),
        "replace_cells": cells.replace(minute, 10_000, closed=False, weighing=True),
        "replace_cells_above": cells.replace(levels["day"], 10_000, closed=True),
        "replace_cells_subset": cells.replace(subset, 10_000, closed=False),
        "clear_cells": cells.clear(hour),
        "merge_span": store.merge_span(levels["day"], hour),
        "merge_span_staged": store.merge_span(hour, None),
        "with_other": store.with_other(minute),
        "cells_of": store.cells_of(minute),
        "keep": told.keep(subset),
        "compare": told.compare(hour, 10_000),
        "values": told.values(hour),
        "differences": told.differences(),
        "compared": compared(BEFORE, ONE, "hour"),
    }


@pytest.mark.parametrize("name", statements())
def test_a_statement_of_the_store_is_as_it_was_read(name: str) -> None:
    query = statements()[name]
    assert query is not None
    # A version is a hash of the definition: it changes with the rules of definitions, and says nothing here.
    said = pretty(query.as_string(None)).replace(ONE.version, "VERSION").replace(BEFORE.version, "BEFORE") + "\n"
    kept = GOLDEN / f"{name}.sql"
    if os.environ.get("UPDATE_GOLDEN"):
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(said, encoding="utf-8")
    assert said == kept.read_text(encoding="utf-8")


def test_every_golden_file_is_a_statement() -> None:
    assert {path.stem for path in GOLDEN.glob("*.sql")} == set(statements())
