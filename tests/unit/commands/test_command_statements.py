"""What the templates print, beside what they printed when somebody last looked: `UPDATE_GOLDEN=1` writes them anew."""

import os
from pathlib import Path

import pytest

from fleetgauge.commands.statements import STATEMENTS, statement

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_is_as_it_was_read(name: str) -> None:
    kept = GOLDEN / f"{name}.sql"
    if os.environ.get("UPDATE_GOLDEN"):
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(statement(name) + "\n", encoding="utf-8")
    assert statement(name) + "\n" == kept.read_text(encoding="utf-8")


def test_every_template_is_a_statement() -> None:
    folder = Path(__file__).parents[3] / "src" / "fleetgauge" / "commands" / "sql"
    assert {path.stem for path in folder.glob("*.sql")} == set(STATEMENTS) == {p.stem for p in GOLDEN.glob("*.sql")}
