"""Arrays as they are written for Postgres; that it reads them so is what every run over cells shows."""

from datetime import UTC, datetime

from fleetgauge.postgres import array_text


def test_values_are_quoted_each() -> None:
    assert array_text(["Mapo", "", "NULL", "a,b", "{c}"]) == '{"Mapo","","NULL","a,b","{c}"}'


def test_quotes_and_backslashes_are_escaped() -> None:
    assert array_text(['say "hi"', "\\", '\\"']) == r'{"say \"hi\"","\\","\\\""}'


def test_instants_and_nothing() -> None:
    assert array_text([datetime(2026, 11, 3, 15, tzinfo=UTC)]) == '{"2026-11-03 15:00:00+00:00"}'
    assert array_text([]) == "{}"
