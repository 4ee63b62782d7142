"""Exports to a store whose address holds a login: what fails, in any way, writes no word of it."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cli_world import Shell
from fault_table import fault
from rollup_world import World
from secret_world import CORE, answering, garbage

from fleetgauge import settings
from fleetgauge.errors import Terminal

KEY = f"AKIA{CORE}"
LOGIN = f"{KEY}:{CORE}"
OPTIONS = "scheme=http&region=eu-west-1"
MISTYPED = (
    f"s4://{LOGIN}@bucket/x",
    f"s3://{LOGIN}@/x",
    f"s3://{LOGIN}@bu cket/x",
    f"s3://{LOGIN}@bucket/x?{CORE}=1",
    f"s3://{KEY}:{CORE}/a@bucket/x?scheme",
    f"s3://{LOGIN}@[::1/x",
    f"gs://{LOGIN}@bucket/x?{CORE}",
)
DAY = datetime.now(UTC) - timedelta(days=2)
SPAN = ("--from", f"{DAY:%Y-%m-%d}", "--to", f"{DAY + timedelta(days=1):%Y-%m-%d}")


@pytest.fixture
def shell(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    found = Shell(world, tmp_path)
    found.configure()
    one = found.write()
    found("migrate")
    world.forget(one)
    world.insert(DAY)
    world.beat()
    world.catch_up()
    found("run", "ride")
    monkeypatch.setenv("FLEETGAUGE_CONFIG", str(found.config))
    return found


def exported(shell: Shell, into: str, code: int) -> str:
    said = shell("export", "parquet", "ride", "--into", into, *SPAN, code=code)
    return f"{said.out}{said.err}"


@fault(
    "The address of a store for exports holds a login, and is mistyped, or the store is away, foreign or refuses it",
    number="right; nothing is exported, and a file that was there stays",
    freshness="ok",
    doctor="ok",
    exporter="ok",
    exit_code="78 or 75 of export, with the address less its login; 78 of all where the settings hold one",
)
def test_a_store_fails_without_a_word_of_its_login(shell: Shell) -> None:
    for into in MISTYPED:
        said = exported(shell, into, 78)
        assert CORE not in said and "neither a folder nor the URI of a store" in said
    with answering(garbage) as noise:
        for where in ("127.0.0.1:1", f"127.0.0.1:{noise}"):
            said = exported(shell, f"s3://{LOGIN}@bucket/x?endpoint_override={where}&{OPTIONS}", 75)
            assert CORE not in said and "could not be written" in said and "Traceback" not in said


def test_no_table_elsewhere_is_declared_with_a_login(shell: Shell) -> None:
    for into, code in ((f"gs://{LOGIN}@bucket/x", 78), (f"s3://{LOGIN}@bucket/x?region={CORE}", 0)):
        for form in ("athena", "glue"):
            said = shell("export", "ddl", "ride", "--into", into, *("--dialect", form), code=code)
            assert CORE not in f"{said.out}{said.err}"
            assert code or "s3://bucket/x/ride_day/" in said.out


@pytest.mark.parametrize("into", [f"s3://{LOGIN}@bucket/x", f"s3://bucket/x?secret_key={CORE}"])
def test_settings_take_no_login_in_the_address(into: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETGAUGE_EXPORT__INTO", into)
    with pytest.raises(Terminal, match=re.compile(r"export.*into.*connection", re.IGNORECASE | re.DOTALL)) as found:
        settings.load()
    assert CORE not in str(found.value)


@pytest.mark.parametrize("into", ["s3://connection@bucket/prefix", "file:///exports", "/exports", None])
def test_settings_take_every_other_address(into: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if into is not None:
        monkeypatch.setenv("FLEETGAUGE_EXPORT__INTO", into)
    assert settings.load().export.into == into
