"""A report as one page: HTML with its style and its charts in it, no script and no network.

Every number stands in a `data` element that names its path in the JSON and its exact value.
"""

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from fleetgauge.errors import Terminal
from fleetgauge.reports.charts import INK, Chart, charts
from fleetgauge.reports.report_parts import ReportSection
from fleetgauge.reports.said import Number, Said, at, written
from fleetgauge.reports.views_of_report import about, cells_of, sections

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class DrawnSection:
    """A section with its charts."""

    section: ReportSection
    charts: list[Chart]


def write(report: dict[str, Any], file: Path) -> None:
    """Write the page in one step, so that nobody opens half of it. Raises `Terminal` if the file cannot be written."""
    text = page(report)
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(file)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise Terminal(f"--html {file}: {error.strerror}; name a file in a folder that can be written to") from error


def page(report: dict[str, Any]) -> str:
    """The page; `report` is what `to_dict` gives. Takes some seconds, for charts."""
    drawn = [DrawnSection(one, charts(report, one.charts)) for one in sections(report)]
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    zone = ZoneInfo(report["range"]["time_zone"])
    return environment.get_template("report.html").render(
        about=[_marked(line, report) for line in about(report)],
        drawn=drawn,
        made_at=f"{datetime.fromisoformat(report['made_at']).astimezone(zone):%Y-%m-%d %H:%M}",
        ink=INK,
        say=lambda said: _marked(said, report),
        number=lambda one: _marked((one,), report),
        value_of=lambda one: None if one is None else at(report, one.path),
        cells=lambda table, index: [_marked(cell, report) for cell in cells_of(table, index)],
        rows=lambda table: range(min(len(at(report, table.rows)), table.most)),
        zone=report["range"]["time_zone"],
    )


def _marked(said: Said, report: dict[str, Any]) -> Markup:
    """A sentence whose numbers say where they come from."""
    return Markup("").join(escape(one) if isinstance(one, str) else _data(one, report) for one in said)


def _data(one: Number, report: dict[str, Any]) -> Markup:
    value = at(report, one.path)
    if one.kind in ("text", "prose") or value is None:
        return escape(written(one.kind, value))
    path = ".".join(str(step) for step in one.path)
    return Markup('<data class="{}" data-path="{}" value="{}">{}</data>').format(
        one.kind, path, value, written(one.kind, value)
    )
