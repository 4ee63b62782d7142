"""The index of the documentation, and that links between pages lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


def test_the_index_lists_every_page_once() -> None:
    index = (DOCS / "README.md").read_text("utf-8")
    listed = re.findall(r"\]\(([\w/.-]+\.md)\)", index)
    assert len(listed) == len(set(listed))
    assert {name for name in listed if not name.startswith("..")} >= {
        page.name for page in DOCS.glob("*.md") if page.name != "README.md"
    }


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


def test_anchors_exist() -> None:
    def anchors(page: Path) -> set[str]:
        titles = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
        return {re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in titles}

    for page in PAGES:
        for target, anchor in re.findall(r"\]\(([\w/.-]*)#([\w-]+)\)", page.read_text("utf-8")):
            other = (page.parent / target).resolve() if target else page
            assert anchor in anchors(other), f"{page.relative_to(ROOT)} links to {target}#{anchor}"


@pytest.mark.parametrize("page", [*PAGES, *ROOT.glob("*.md")], ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_says_a_line_twice_or_holds_marks_of_a_merge(page: Path) -> None:
    lines = page.read_text("utf-8").splitlines()
    assert not [line for line in lines if re.match(r"(<{7}|={7}|>{7})( |$)", line)]
    points = [line for line in lines if line.startswith("- ") and len(line) > 60]
    assert len(points) == len(set(points))
