"""Panels lead to the pages that explain them."""

import json
import re
from pathlib import Path

import pytest
from dashboards.docs_links import docs_address, linked
from dashboards.queries import panels

ROOT = Path(__file__).parents[3]


def test_a_page_becomes_a_link_once() -> None:
    said = linked("Source: metrics.x; docs/metrics/x.md. See docs/alerts.md#all, and deploy/docs/no.md.", "https://d/")
    assert said == (
        "Source: metrics.x; [docs/metrics/x.md](https://d/docs/metrics/x.md). See "
        "[docs/alerts.md#all](https://d/docs/alerts.md#all), and deploy/docs/no.md."
    )
    assert linked(said, "https://d/") == said
    assert linked("Of metrics.rental_$grain.", "https://d/") == (
        "Of metrics.rental_$grain. See [docs/metrics/rental.md](https://d/docs/metrics/rental.md)."
    )
    assert linked("Of metrics.no_such_$grain (docs/a.md).", "https://d/") == (
        "Of metrics.no_such_$grain ([docs/a.md](https://d/docs/a.md))."
    )
    assert linked("Of metrics.no_such_$grain.", "https://d/") == "Of metrics.no_such_$grain."


def test_the_address_is_that_of_the_alerts(tmp_path: Path) -> None:
    links = tmp_path / "links.tmpl"
    links.write_text('{{ define "fleetgauge.docs" }}https://git.example.org/docs-of/us{{ end }}')
    assert docs_address(links) == "https://git.example.org/docs-of/us/"
    links.write_text("{{ end }}")
    with pytest.raises(ValueError, match=r"links\.tmpl"):
        docs_address(links)


def test_every_page_that_a_panel_names_exists_and_is_a_link() -> None:
    found, address = 0, docs_address()
    for path in (ROOT / "dashboards" / "generated").rglob("*.json"):
        for panel in panels(json.loads(path.read_text("utf-8"))):
            said = panel.get("description", "")
            for page in re.findall(r"docs/[\w/.-]+\.md", said):
                assert (ROOT / page).is_file(), (path.name, panel["title"])
            bare = re.sub(r"\[[^\]]*\]\([^)]*\)", "", said)
            assert "docs/" not in bare, (path.name, panel["title"])
            found += said.count(f"]({address}docs/")
    assert found > 50
