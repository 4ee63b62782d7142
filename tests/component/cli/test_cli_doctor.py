"""`fleetgauge doctor`: its verdict is all that is said, and its SQL needs no certain content."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka.errors import KafkaError

from fleetgauge import diagnosis
from fleetgauge.cli import main
from fleetgauge.kafka.kafka_clients import administering
from fleetgauge.rollup.operating.findings import Finding
from fleetgauge.settings import Settings

CLOSED = "127.0.0.1:1"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Nothing answers; the content is a folder of one's own."""
    path = tmp_path / "fleetgauge.toml"
    path.write_text(
        f'content = "{tmp_path}"\n[kafka]\nbootstrap_servers = "{CLOSED}"\n'
        f'[sources.operations]\nurl = "postgresql://reader@{CLOSED}/app"\n'
    )
    monkeypatch.setenv("FLEETGAUGE_CONFIG", str(path))
    loggers = [logging.getLogger(name) for name in (None, "kafka", "kafka.net.selector", "elastic_transport")]
    before = [(one.level, list(one.handlers)) for one in loggers]
    yield path
    for one, (level, handlers) in zip(loggers, before, strict=True):
        one.setLevel(level)
        one.handlers[:] = handlers


def _run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["fleetgauge", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_kafkas_many_tries_do_not_drown_the_verdict(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(settings: Settings) -> Iterator[Finding]:
        try:
            with administering(settings.kafka, "test", 1.0):
                pass
        except KafkaError as error:
            yield Finding("topics", "fail", str(error))

    monkeypatch.setattr(diagnosis, "examine", ask)
    assert _run(monkeypatch, "doctor") == 78
    said = capsys.readouterr()
    assert said.err == ""
    assert [line for line in said.out.splitlines() if not line.startswith("setting ")] == [
        f"fail topics: KafkaTimeoutError: Unable to bootstrap from ['{CLOSED}']"
    ]


def test_sql_for_production_without_sql_source_says_what_is_missing(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, "doctor", "--sql") == 0
    said = capsys.readouterr()
    assert said.err == ""
    first, *rest = said.out.splitlines()
    assert first.startswith(f"-- {config.parent}/sql/source holds no SQL for the reader's login and the heartbeat")
    assert all(line.startswith("--") for line in rest if line)


def test_sql_for_production_takes_the_contents_own_and_names_a_file_that_is_no_text(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = config.parent / "sql" / "source"
    folder.mkdir(parents=True)
    (folder / "01_reader.sql").write_text("CREATE ROLE reader;\n")
    assert _run(monkeypatch, "doctor", "--sql") == 0
    assert capsys.readouterr().out.startswith("CREATE ROLE reader;\n")
    (folder / "02_heartbeat.sql").write_bytes(b"SELECT 1;\n\xff")
    assert _run(monkeypatch, "doctor", "--sql") == 78
    said = capsys.readouterr()
    assert said.out == "" and "02_heartbeat.sql:2: is not UTF-8: byte 0xff" in said.err
