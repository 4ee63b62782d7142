"""Links from panels to the pages that explain them, which lie where the messages of alerts find them too."""

import re
from pathlib import Path

LINKS = Path(__file__).parents[1] / "deploy" / "alertmanager" / "templates" / "links.tmpl"
"""Has the address that the pages lie below, as `fleetgauge.docs`: a team writes its own there."""
_ADDRESS = re.compile(r'\{\{\s*define "fleetgauge\.docs"\s*\}\}(\S+?)\{\{')
_LINK_OR_PAGE = re.compile(r"\[[^\]]*\]\([^)]*\)|(?<![\w/])docs/[\w/.-]+\.md(?:#[\w-]+)?")
_VIEW = re.compile(r"\bmetrics\.([a-z]\w*?)_(?:\$|minute\b|hour\b|day\b|range\b)")
METRICS = Path(__file__).parents[1] / "docs" / "metrics"


def docs_address(links: Path = LINKS) -> str:
    """What the path of a page is put behind. Raises `ValueError` where the file does not say it."""
    found = _ADDRESS.search(links.read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(
            f'{links}: there is no {{{{ define "fleetgauge.docs" }}}}; write the address of the pages in it'
        )
    return found[1].rstrip("/") + "/"


def linked(description: str, address: str, pages: Path = METRICS) -> str:
    """The description, in which each page that is named is a link, in Markdown as Grafana shows it.

    Where none is, the page of the metric whose view is read is added, if there is one in `pages`.
    """

    def link(found: re.Match[str]) -> str:
        said = found[0]
        return said if said.startswith("[") else f"[{said}]({address}{said})"

    if not _LINK_OR_PAGE.search(description):
        named = [name for name in _VIEW.findall(description) if (pages / f"{name}.md").is_file()]
        description += "".join(f" See docs/metrics/{name}.md." for name in named[:1])
    return _LINK_OR_PAGE.sub(link, description)
