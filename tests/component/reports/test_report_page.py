"""The page says what the JSON says, needs nothing from outside, and looks right in a real Chromium."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from chromium import EXECUTABLE, Tab, chromium
from fleetgauge.errors import Terminal
from fleetgauge.reports import page
from fleetgauge.reports.charts import CHARTS
from fleetgauge.reports.said import Kind, Number, at, written
from fleetgauge.reports.views_of_report import about, cells_of, sections

CHECKS = (Path(__file__).parent / "page_checks.js").read_text(encoding="utf-8")
LARGEST_BYTES, LONGEST_S = 3_000_000, 2.0
in_chromium = pytest.mark.skipif(EXECUTABLE is None, reason="no Chromium is installed on this machine")


class Parsed(HTMLParser):
    """The numbers of a page, and its text without them, without charts, styles and the time at which it was made."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[tuple[str, str, str, str]] = []
        self.rest: list[str] = []
        self._open: list[str] = []
        self._number: tuple[str, str, str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag in ("svg", "style", "time", "title"):
            self._open.append(tag)
        elif tag == "data":
            self._number = str(found["data-path"]), str(found["value"]), str(found["class"])

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1] == tag:
            self._open.pop()
        elif tag == "data":
            self._number = None

    def handle_data(self, data: str) -> None:
        if self._number is not None:
            self.numbers.append((*self._number, data))
        elif not self._open:
            self.rest.append(data)


def parsed(file: Path) -> Parsed:
    found = Parsed()
    found.feed(file.read_text(encoding="utf-8"))
    return found


def test_every_number_of_the_page_equals_the_json(report: dict[str, Any], report_page: Path) -> None:
    told = json.loads(json.dumps(report))
    numbers = parsed(report_page).numbers
    assert len(numbers) > 400
    for path, value, kind, text in numbers:
        exact = at(told, tuple(int(step) if step.isdigit() else step for step in path.split(".")))
        assert value == str(exact), path
        if kind == "instant":
            assert exact.startswith(text.replace(" ", "T")), path
        else:
            shown, step = read(text)
            factor = {"percent": 100, "points": 100, "change": 100}.get(kind, 1)
            assert abs(shown - factor * exact) <= step * 0.5000001 or (text.startswith("<") and exact < shown), path


def read(text: str) -> tuple[float, float]:
    """The number that somebody reads, and the worth of its last digit."""
    found = re.fullmatch(r"(?:< )?([+−]?)([\d,]+)(?:\.(\d+))?(?: (%|pp|B|kB|MB|GB))?", text)
    assert found is not None, text
    sign, whole, digits, unit = found.groups()
    scale = {"kB": 1e3, "MB": 1e6, "GB": 1e9}.get(unit or "", 1.0)
    value = float(f"{whole.replace(',', '')}.{digits or 0}") * scale
    return (-value if sign == "−" else value), scale * 10 ** -len(digits or "")


def test_no_number_stands_on_the_page_but_those_and_the_limits_of_the_method(report_page: Path) -> None:
    plain = " ".join(parsed(report_page).rest)
    plain = re.sub(
        r"\d+\.\d+\.\d+|\d{4}-\d\d-\d\d|sc-\d{5}|[a-z]\w*-?[a-z]*\d+\w*(-\w+)?|95 %|5\.0 %|\+[65]\.[85]", "", plain
    )
    assert re.findall(r"\d+", plain) == []


def test_the_page_needs_nothing_from_outside(report_page: Path) -> None:
    text = report_page.read_text(encoding="utf-8")
    assert len(text.encode()) <= LARGEST_BYTES
    assert "<script" not in text and "@import" not in text
    links = re.findall(r"(?:src|href|xlink:href)=\"([^\"]*)\"", text)
    assert {link for link in links if not link.startswith("#")} == {"data:,"}
    assert re.findall(r"url\((?!#)", text) == []


def test_ids_are_unique(report_page: Path) -> None:
    ids = re.findall(r"\sid=\"([^\"]*)\"", report_page.read_text(encoding="utf-8"))
    assert len(ids) == len(set(ids))


def test_what_a_source_says_is_text_and_no_markup(report: dict[str, Any]) -> None:
    told = json.loads(json.dumps(report))
    evil = "<script>alert(1)</script>"
    told["commands"]["costliest"][0]["command_type"] = evil
    told["commands"]["rates"][0]["command_type"] = evil
    told["firmware"]["by_model"][0]["firmware"] = told["firmware"]["versions"][0]["firmware"] = evil
    text = page.page(told)
    assert "<script" not in text and "&lt;script&gt;" in text


def test_a_file_that_cannot_be_written_is_said(report: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(Terminal, match="--html"):
        page.write(
            {**report, "commands": None, "firmware": None, "fleet": None, "business": None}, tmp_path / "no" / "x"
        )
    assert [*tmp_path.iterdir()] == []


def test_all_that_is_shown_is_in_the_report(report: dict[str, Any]) -> None:
    shown = [
        *about(report),
        *(cell for s in sections(report) for t in s.tables if at(report, t.rows) for cell in cells_of(t, 0)),
    ]
    for said in shown:
        for one in said:
            if isinstance(one, Number):
                written(one.kind, at(report, one.path))
    assert {name for one in sections(report) for name in one.charts} == set(CHARTS)


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("percent", 0.0656, "6.6 %"),
        ("percent", 1.0, "100 %"),
        ("change", 0.042, "+4.2 %"),
        ("change", -0.5, "−50 %"),
        ("change", 0.00001, "0.0 %"),
        ("points", -0.013, "−1.3 pp"),
        ("money", 39364.12, "39,364"),
        ("money", 4.75, "4.75"),
        ("bytes", 7_934_000, "7.9 MB"),
        ("probability", 1e-9, "< 0.0001"),
        ("count", None, "–"),
    ],
)
def test_numbers_are_written_for_people(kind: Kind, value: Any, text: str) -> None:
    assert written(kind, value) == text


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with chromium() as found:
        yield found


OVERLAPS = CHECKS + "overlaps()"
CHARTS_SEEN = CHECKS + "chartsSeen()"
CONTRAST = CHECKS + "contrast()"


@in_chromium
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1366, 1920])
def test_the_page_looks_right_in_a_real_chromium(tab: Tab, report_page: Path, width: int, *, dark: bool) -> None:
    tab.look(width, dark=dark)
    assert min(tab.open(report_page.as_uri()) for _ in range(3)) <= LONGEST_S  # others may be using the processors
    assert tab.said == [] and set(tab.requests) == {report_page.as_uri()}
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate(OVERLAPS) == []
    marks = dict(tab.evaluate(CHARTS_SEEN))
    assert set(marks) == set(CHARTS) and all(marks.values()), marks
    assert tab.evaluate(CONTRAST) == []


@in_chromium
def test_dark_and_light_differ(tab: Tab, report_page: Path) -> None:
    seen = []
    for dark in (False, True):
        tab.look(1366, dark=dark)
        tab.open(report_page.as_uri())
        seen.append(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert seen[0] != seen[1]


@in_chromium
def test_the_page_prints(tab: Tab, report_page: Path) -> None:
    tab.open(report_page.as_uri())
    tab.look(720, media="print", dark=True)
    assert tab.evaluate(OVERLAPS) == []
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert (
        tab.evaluate("[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1).length")
        == 0
    )
    printed = tab.pdf()
    assert printed.startswith(b"%PDF") and 2 <= len(re.findall(rb"/Type /Page\b", printed)) <= 8
