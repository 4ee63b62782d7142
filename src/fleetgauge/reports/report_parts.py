"""What a report is made of, whoever shows it: sections with sentences, tiles, tables and charts."""

from dataclasses import dataclass, field

from fleetgauge.reports.said import Kind, Number, Path, Said


@dataclass(frozen=True)
class Tile:
    """One number in large, with what it was before."""

    label: str
    number: Number
    change: Number | None = None
    note: Said = ()


@dataclass(frozen=True)
class TableColumn:
    """One column. `key` is that of a row; with `high` it is an interval from `key` to `high`."""

    heading: str
    key: str
    kind: Kind = "text"
    high: str = ""
    minor: bool = False
    """Left out where the page is narrow."""


@dataclass(frozen=True)
class ReportTable:
    """Rows of one list of the report."""

    title: str
    rows: Path
    columns: tuple[TableColumn, ...]
    note: Said = ()
    empty: str = ""
    """What is said instead of a table without rows."""
    most: int = 1000


@dataclass(frozen=True)
class ReportSection:
    """One of the four reports."""

    name: str
    title: str
    lead: Said
    """What it comes to, in one or two sentences."""
    tiles: tuple[Tile, ...] = ()
    tables: tuple[ReportTable, ...] = ()
    charts: tuple[str, ...] = field(default=())
    """Names of `charts.CHARTS`."""
