"""The generated files: up to date, complete, and laid out so that Grafana shows what was meant."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from dashboards.build import main, render
from dashboards.queries import panels

ROOT = Path(__file__).parents[3]
SOURCE = {"type": "grafana-postgresql-datasource", "uid": "fleetgauge-metrics"}
PROMETHEUS = {"type": "prometheus", "uid": "fleetgauge-prometheus"}
UNITS = {
    "dthms",
    "dtdurations",
    "suffix:h",
    "s",
    "locale",
    "none",
    "percentunit",
    "suffix:s",
    "suffix:min",
    "suffix:km",
    "decbytes",
    "currencyKRW",
    "currency:financial:₩",
    "percent",
    "time:MMM D",
    "time:MMM D, HH:mm",
}


def test_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0, capsys.readouterr().out


def test_check_finds_a_stale_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboards.build.GENERATED", tmp_path)
    made = list(render())
    monkeypatch.setattr("dashboards.build.render", lambda content: made)  # it would take most of the time, six times
    assert main(["--check"]) == 1
    assert main([]) == 0
    assert main(["--check"]) == 0
    (tmp_path / "removed-board.json").write_text("{}")
    assert main(["--check"]) == 1
    assert main([]) == 0
    assert sorted(tmp_path.rglob("*.json")) == sorted(path for path, _ in made)


def test_dashboard_is_code(dashboard: dict[str, Any]) -> None:
    assert dashboard["editable"] is False
    assert dashboard["timezone"] == "Asia/Seoul"
    assert dashboard["time"]["from"] in ("now-3d", "now-24h")
    assert dashboard["refresh"] == "1m"
    assert dashboard["graphTooltip"] == 1
    assert 36 <= dashboard["schemaVersion"] <= 42  # what Grafana 12 reads or migrates
    assert len(dashboard["uid"]) <= 40
    assert "id" not in dashboard
    assert "fleetgauge" in dashboard["tags"]
    link = dashboard["links"][0]
    assert (link["type"], link["tags"], link["keepTime"], link["includeVars"]) == (
        "dashboards",
        ["fleetgauge"],
        True,
        True,
    )


def test_every_panel_explains_itself(dashboard: dict[str, Any]) -> None:
    seen: set[str] = set()
    for panel in panels(dashboard):
        assert panel["title"] not in seen, "titles are names: the report of a failing query uses them"
        seen.add(panel["title"])
        assert len(panel["description"]) > 40, panel["title"]
        assert re.search(r"Source: (metrics\.\w|Prometheus)", panel["description"]), panel["title"]
        source = PROMETHEUS if "Source: Prometheus" in panel["description"] else SOURCE
        assert panel["datasource"] == source
        assert "libraryPanel" not in panel
        assert panel["fieldConfig"]["defaults"].get("unit") in UNITS or panel["type"] == "table", panel["title"]
        refs = [target["refId"] for target in panel["targets"]]
        assert len(refs) == len(set(refs)), panel["title"]
        for target in panel["targets"]:
            assert target["datasource"] == source
            if source == PROMETHEUS:
                continue
            assert target["rawQuery"] is True
            assert target["editorMode"] == "code"
            assert target["format"] == ("time_series" if panel["type"] == "timeseries" else target["format"])


def test_numeric_columns_of_tables_have_a_unit(dashboard: dict[str, Any]) -> None:
    for panel in (one for one in panels(dashboard) if one["type"] == "table"):
        defaults = panel["fieldConfig"]["defaults"]
        overrides = {
            override["matcher"]["options"]: {prop["id"]: prop["value"] for prop in override["properties"]}
            for override in panel["fieldConfig"]["overrides"]
        }
        for unit in [defaults.get("unit"), *(found.get("unit") for found in overrides.values())]:
            assert unit is None or unit in UNITS, panel["title"]


def test_overrides_name_columns_that_exist(dashboard: dict[str, Any]) -> None:
    for panel in panels(dashboard):
        text = "\n".join(target.get("rawSql", "") for target in panel["targets"])
        for override in panel["fieldConfig"].get("overrides", []):
            if text and override["matcher"]["id"] == "byName":
                assert f'"{override["matcher"]["options"]}"' in text, (panel["title"], override["matcher"]["options"])


def rectangles(dashboard: dict[str, Any]) -> Iterator[tuple[str, dict[str, int]]]:
    for panel in dashboard["panels"]:
        yield panel["title"], panel["gridPos"]


def test_layout_has_no_overlap_and_no_gap(dashboard: dict[str, Any]) -> None:
    taken: dict[tuple[int, int], str] = {}
    for title, at in rectangles(dashboard):
        assert at["x"] >= 0
        assert at["x"] + at["w"] <= 24, title
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert (x, y) not in taken, f"{title} lies over {taken[x, y]}"
                taken[x, y] = title
    height = max(at["y"] + at["h"] for _, at in rectangles(dashboard))
    assert len(taken) == 24 * height, "the dashboards fill their grid"


ROOM = {4: 90, 6: 175, 8: 245, 10: 330, 12: 420}
"""Pixels for the title of a panel, by its width, in a window of 1366 beside Grafana's menu: the mark of its description
and the button of its menu take 64."""


def pixels(title: str) -> float:
    """About the width of a title in Grafana's font of titles."""
    widths = ((4.5, "iljrtfI.,:/ "), (7.5, "sc"), (12, "mwMW"), (9.5, "ABCDEFGHJKLNOPQRSTUVXYZ"))
    return sum(next((width for width, letters in widths if one in letters), 8) for one in title)


def test_titles_are_not_cut_off() -> None:
    said = {"sample": "15 minutes", "each": "15 minutes", "bucket": "15 minutes", "vehicle": "sc-00019"}
    for path in (ROOT / "dashboards" / "generated").rglob("*.json"):
        for panel in panels(json.loads(path.read_text("utf-8"))):
            title = re.sub(r"\$\{stretch_\w+\}", "", panel["title"])
            title = re.sub(r"\$\{?(\w+)\}?", lambda variable: said[variable[1]], title)
            assert pixels(title) <= ROOM.get(panel["gridPos"]["w"], 500), (path.name, title, pixels(title))


def test_tables_leave_no_column_out_of_sight() -> None:
    """A column's least width is not taken off the others, so that the last ones lie beyond the edge."""
    for path in (ROOT / "dashboards" / "generated").rglob("*.json"):
        for panel in panels(json.loads(path.read_text("utf-8"))):
            overrides = panel.get("fieldConfig", {}).get("overrides", [])
            given = [one for override in overrides for one in override["properties"]]
            assert "custom.minWidth" not in [one["id"] for one in given], (path.name, panel["title"])
            if panel["type"] == "table":
                assert panel["fieldConfig"]["defaults"]["custom"]["wrapHeaderText"], (path.name, panel["title"])


def test_variables(dashboard: dict[str, Any]) -> None:
    names = [variable["name"] for variable in dashboard["templating"]["list"]]
    assert names[:3] == ["resolution", "grain", "bucket"], "each is computed from those before it"
    grain = dashboard["templating"]["list"][1]
    assert grain["hide"] == 2
    assert grain["refresh"] == 2, "computed anew when the time range changes"
    assert grain["skipUrlSync"] is True, "a link made for another range must not pin the grain"
    for variable in dashboard["templating"]["list"][2:]:
        if variable["name"] == "vehicle":
            continue
        if variable["name"].startswith(("stem", "stretch_", "bucket", "sample", "each")):
            assert (variable["hide"], variable["refresh"], variable["skipUrlSync"]) == (2, 2, True)
            continue
        assert variable["multi"]
        assert variable["includeAll"]
        assert variable["allValue"] == variable["name"]
        assert variable["datasource"] == SOURCE
        assert re.search(r"metrics\.\w+_day", variable["query"])


def test_a_click_on_a_cell_keeps_every_other_choice(dashboard: dict[str, Any]) -> None:
    chosen = {one["name"] for one in dashboard["templating"]["list"] if not one.get("hide")} - {"vehicle"}
    for panel in panels(dashboard):
        for override in panel.get("fieldConfig", {}).get("overrides", []):
            for link in (one for each in override["properties"] if each["id"] == "links" for one in each["value"]):
                assert "?${__url_time_range}" in link["url"], panel["title"]
                if link["url"].startswith(f"/d/{dashboard['uid']}?"):
                    kept = set(re.findall(r"\$\{(\w+):queryparam\}|var-(\w+)=", link["url"]))
                    assert {a or b for a, b in kept} - {"vehicle"} == chosen, panel["title"]


def test_provisional_windows_are_shaded(dashboard: dict[str, Any]) -> None:
    if not any(panel["type"] == "timeseries" for panel in panels(dashboard)):
        return
    annotation = next(one for one in dashboard["annotations"]["list"] if one["name"] == "Provisional")
    assert annotation["enable"] is True
    assert annotation["datasource"] == SOURCE
    assert '"timeEnd"' in annotation["target"]["rawSql"]
    assert {"Final until", "Judged up to"} & {panel["title"] for panel in panels(dashboard)}


def test_provisioning_fits_the_dashboards(dashboard: dict[str, Any]) -> None:
    folder = ROOT / "dashboards" / "provisioning"
    provisioned = yaml.safe_load((folder / "datasources" / "fleetgauge.yaml").read_text("utf-8"))["datasources"]
    source, prometheus, loki = provisioned
    assert {"type": source["type"], "uid": source["uid"]} == SOURCE
    assert source["jsonData"]["timescaledb"] is False
    assert source["secureJsonData"]["password"].startswith("${")
    assert source["editable"] is False
    assert (prometheus["type"], prometheus["uid"]) == ("prometheus", "fleetgauge-prometheus")
    assert (loki["type"], loki["uid"]) == ("loki", "fleetgauge-loki")
    (provider,) = yaml.safe_load((folder / "dashboards" / "fleetgauge.yaml").read_text("utf-8"))["providers"]
    assert provider["allowUiUpdates"] is False
    assert provider["options"]["path"].startswith("${")
