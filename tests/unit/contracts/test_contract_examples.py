"""Examples and pages of the project's own contracts."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from typer.testing import CliRunner

from fleetgauge.cli.app import app
from fleetgauge.contracts import event_pages, load
from fleetgauge.contracts.subset import Array, Node, Object

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "schemas" / "events"
CONTRACTS = load(FOLDER)


def run(*arguments: str, content: Path = ROOT) -> Any:
    return CliRunner().invoke(app, arguments, env={"FLEETGAUGE_CONTENT": str(content)}, catch_exceptions=True)


@pytest.mark.parametrize("kind", sorted(CONTRACTS))
def test_examples_are_whole_events_that_jsonschema_accepts(kind: str) -> None:
    common = Resource.from_contents(json.loads((FOLDER / "common.json").read_text()))
    schema = json.loads((FOLDER / f"{kind}.json").read_text())
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema, registry=Registry().with_resource("common.json", common))
    assert schema["examples"]
    for example in schema["examples"]:
        validator.validate(example)


def test_every_field_of_every_contract_is_explained_or_named_after_what_it_is() -> None:
    def silent(at: str, node: Node) -> list[str]:
        if isinstance(node, Array):
            return silent(at, node.items)
        if isinstance(node, Object):
            return [path for key, child in node.properties.items() for path in silent(f"{at}.{key}", child)]
        return [] if node.note.description else [at]

    missing = {path for kind, contract in CONTRACTS.items() for path in silent("", contract.node)}
    assert missing <= {".kind", ".event.dataset"}


def test_pages_are_up_to_date() -> None:
    done = run("contracts", "docs", "--check")
    assert done.exit_code == 0, done.output or done.exception


def test_a_page_says_what_the_contract_says() -> None:
    page = event_pages.pages(CONTRACTS, {"battery": [event_pages.Reader("telemetry", "raw", "events")]})["battery.md"]
    assert "| `temperature_c` | number | no | ≥ -60, ≤ 150 | Cel | `double` | Temperature of the pack. |" in page
    assert "| `device.id` | string | yes | 1 to 64 characters, `^[A-Za-z0-9._-]+$` |  | `keyword` |" in page
    assert "| `timestamp` | instant | yes |" in page and "| ms | in `_source` only |" in page
    assert "Read from topic `raw` by consumer `telemetry`, stored in `events-YYYY.MM.DD`, alias `events`." in page
    assert '"battery_percent": 73' in page


def test_pages_of_kinds_that_are_gone_go_and_pages_by_hand_stay(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    wanted = event_pages.pages(CONTRACTS, {})
    assert sorted(event_pages.write(folder, wanted)) == sorted(wanted)
    (folder / "by-hand.md").write_text("# mine")
    del wanted["battery.md"]
    wanted["tip_over.md"] += "changed"
    assert event_pages.outdated(folder, wanted) == ["battery.md", "tip_over.md"]
    event_pages.write(folder, wanted)
    assert event_pages.outdated(folder, wanted) == [] and not (folder / "battery.md").exists()
    assert (folder / "by-hand.md").exists()


def test_commands_speak_json_and_change_nothing_when_told_so(tmp_path: Path) -> None:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "events").symlink_to(FOLDER)
    rows = json.loads(run("contracts", "ls", "--json", content=tmp_path).stdout)
    assert rows[0] == {"kind": "battery", "version": 1, "released": None, "changed": True}
    done = json.loads(run("contracts", "release", "battery", "--dry-run", "--json", content=tmp_path).stdout)
    assert done == {"dry_run": True, "released": {"battery": {"from": None, "to": 1}}}
    assert not (tmp_path / "schemas" / "released.json").exists()
    assert "battery: version 1, for the first time" in run("contracts", "release", "battery", content=tmp_path).stdout
    assert "battery: version 1, released 1" in run("contracts", "ls", content=tmp_path).stdout
    stale = run("contracts", "docs", "--check", content=tmp_path)
    assert stale.exit_code == 1 and "run fleetgauge contracts docs" in str(stale.exception)
    assert not (tmp_path / "docs").exists()
    assert "8 renewed" in run("contracts", "docs", content=tmp_path).stdout
    assert run("contracts", "docs", "--check", content=tmp_path).exit_code == 0
