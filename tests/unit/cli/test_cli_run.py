"""`fleetgauge run` in whatever way it fails: one JSON document on stdout, and the exit code tells."""

import json
import sys
from pathlib import Path

import pytest

from fleetgauge import pipeline
from fleetgauge.cli import main
from fleetgauge.errors import Transient

CONTENT = Path(__file__).parents[3]


def test_json_is_json_when_what_comes_before_the_metrics_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken(*_: object) -> None:
        raise Transient("Kafka did not answer")

    config = tmp_path / "fleetgauge.toml"
    config.write_text(f'content = "{CONTENT}"\n')
    monkeypatch.setenv("FLEETGAUGE_CONFIG", str(config))
    monkeypatch.setattr(pipeline, "materialise_commands", broken)
    monkeypatch.setattr(sys, "argv", ["fleetgauge", "run", "--source", "commands", "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 75
    said = capsys.readouterr()
    reports = json.loads(said.out)
    assert {report["metric"] for report in reports} == set(pipeline.metrics_by_source(CONTENT)["commands"])
    assert {report["error"] for report in reports} == {"Kafka did not answer"}
    assert "Traceback" not in said.err
