"""A report on a terminal, in plain text; on a wider one nothing is cut."""

from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fleetgauge.reports.report_parts import ReportSection, ReportTable
from fleetgauge.reports.said import at, sentence, written
from fleetgauge.reports.views_of_report import about, cells_of, sections


def draw_report(report: dict[str, Any], console: Console) -> None:
    """Print it; `report` is what `to_dict` gives."""
    for line in about(report):
        console.print(Text(sentence(line, report), style="dim"))
    for section in sections(report):
        _draw_section(section, report, console)


def _draw_section(section: ReportSection, report: dict[str, Any], console: Console) -> None:
    console.print()
    console.print(Text(section.title, style="bold underline"))
    console.print(Text(sentence(section.lead, report)))
    for tile in section.tiles:
        value = written(tile.number.kind, at(report, tile.number.path))
        said = Text(f"  {tile.label}: ").append(value, style="bold")
        change = None if tile.change is None else at(report, tile.change.path)
        if tile.change is not None and change is not None:
            said.append(f" ({written(tile.change.kind, change)} against the period before)")
        if tile.note:
            said.append(f" ({sentence(tile.note, report)})")
        console.print(said)
    for table in section.tables:
        _draw_table(table, report, console)


def _draw_table(table: ReportTable, report: dict[str, Any], console: Console) -> None:
    rows = at(report, table.rows)
    console.print()
    console.print(Text(table.title, style="bold"))
    if not rows:
        console.print(Text(f"  {table.empty}"))
        return
    drawn = Table.grid(padding=(0, 2))
    drawn.show_header = True
    for column in table.columns:
        numeric = column.kind not in ("text", "prose", "instant")
        drawn.add_column(column.heading, header_style="dim", justify="right" if numeric else "left", no_wrap=numeric)
    for index in range(min(len(rows), table.most)):
        drawn.add_row(*(Text(sentence(cell, report)) for cell in cells_of(table, index)))
    console.print(Padding(drawn, (0, 0, 0, 2)))
    if table.note:
        console.print(Padding(Text(sentence(table.note, report), style="dim"), (0, 0, 0, 2)))
