"""The reader is granted what the metrics read, and not more."""

import re
from pathlib import Path

import sqlglot
from sqlglot import exp

from own_metrics import own_metrics

ROOT = Path(__file__).parents[4]


def test_the_list_of_grants_is_what_the_definitions_read() -> None:
    definitions = own_metrics()
    read = {
        table.name
        for one in definitions.values()
        if one.source == "operations" and one.documents is None
        for table in sqlglot.parse_one(one.source_sql, dialect="postgres").find_all(exp.Table)
    }
    text = re.sub(r"--.*", "", (ROOT / "sql" / "source" / "01_reader.sql").read_text("utf-8"))
    (granted,) = re.findall(r"GRANT SELECT ON\s+(.*?)\s+TO fleetgauge_reader", text, re.DOTALL)
    assert {name.strip() for name in granted.split(",")} == read
