"""What the demo found: as data for `--json`, and drawn for a reader."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.table import Table

BARS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Check:
    """One comparison of the pipeline's result with the truth. `differences` names the first few that differ."""

    name: str
    compared: int
    differences: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Nothing differed, and there was something to compare: an empty comparison proves nothing."""
        return not self.differences and self.compared > 0


@dataclass(frozen=True)
class TopicCount:
    """What happened to a topic's records. `produced` counts every record, a repeated or a broken one too."""

    topic: str
    produced: int
    indexed: int
    duplicates: int
    dead_lettered: int


@dataclass(frozen=True)
class CommandLine:
    """A command type over all closed hours: the pipeline's number and, after it, the simulator's."""

    command_type: str
    requested: int
    failed: int
    rejected: int
    timed_out: int
    expired: int
    failure_rate: float
    true_failure_rate: float
    p50_ms: float
    true_p50_ms: float
    p95_ms: float
    true_p95_ms: float
    bytes: int
    cost_krw: Decimal
    true_cost_krw: Decimal
    cost_share: float


@dataclass
class Report:
    """The whole result; filled step by step, so that a failure half-way still shows what is known."""

    scale: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    topics: list[TopicCount] = field(default_factory=list)
    commands: list[CommandLine] = field(default_factory=list)
    rentals_by_hour: list[tuple[str, int]] = field(default_factory=list)
    """(local hour as `Mon 08:00`, rentals started) for each closed hour, in order."""
    closed_until: dict[str, str] = field(default_factory=dict)
    """`metric grain` → the instant up to which its numbers are final."""
    airflow_runs: dict[str, dict[str, int]] = field(default_factory=dict)
    primary_statements: dict[str, int] = field(default_factory=dict)
    """Login → number of distinct statements that `pg_stat_statements` on the primary lists for it."""
    replica_statements: int = 0
    """The same count for the pipeline's reader on the replica; were it 0, the line above would prove nothing."""
    checks: list[Check] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Every check passed."""
        return bool(self.checks) and all(check.ok for check in self.checks)


def draw(report: Report, console: Console) -> None:
    """Print the report; on a terminal in colour, elsewhere plain."""
    _events(report, console)
    _commands(report, console)
    _rentals(report, console)
    _isolation(report, console)
    _checks(report, console)


def _events(report: Report, console: Console) -> None:
    table = Table(title="Events", title_justify="left")
    table.add_column("topic")
    for name in ("produced", "indexed", "duplicate", "dead-lettered"):
        table.add_column(name, justify="right")
    for topic in report.topics:
        table.add_row(
            topic.topic, *(f"{n:,}" for n in (topic.produced, topic.indexed, topic.duplicates, topic.dead_lettered))
        )
    console.print(table)


def _commands(report: Report, console: Console) -> None:
    table = Table(
        title="Commands in closed hours: the pipeline's numbers, the simulator's books in brackets",
        title_justify="left",
    )
    table.add_column("command")
    for name in (
        "requested",
        "failed",
        "rejected",
        "timed out",
        "expired",
        "failure rate",
        "p50 ms",
        "p95 ms",
        "MB",
        "KRW",
        "share",
    ):
        table.add_column(name, justify="right")
    for line in report.commands:
        table.add_row(
            line.command_type,
            f"{line.requested:,}",
            f"{line.failed:,}",
            f"{line.rejected:,}",
            f"{line.timed_out:,}",
            f"{line.expired:,}",
            f"{line.failure_rate:.2%} ({line.true_failure_rate:.2%})",
            f"{line.p50_ms:,.0f} ({line.true_p50_ms:,.0f})",
            f"{line.p95_ms:,.0f} ({line.true_p95_ms:,.0f})",
            f"{line.bytes / 1e6:,.2f}",
            f"{line.cost_krw:,.0f} ({line.true_cost_krw:,.0f})",
            f"{line.cost_share:.1%}",
        )
    console.print(table)


def _rentals(report: Report, console: Console) -> None:
    if not report.rentals_by_hour:
        return
    days: dict[str, list[tuple[str, int]]] = {}
    for label, count in report.rentals_by_hour:
        days.setdefault(label.rsplit(" ", 1)[0], []).append((label.rsplit(" ", 1)[1], count))
    top = max(count for _, count in report.rentals_by_hour) or 1
    console.print("[bold]Rentals by hour[/] (one column an hour, 00 to 23 in Seoul; final hours only)")
    for day, hours in days.items():
        row = [" "] * 24
        for hour, count in hours:
            row[int(hour[:2])] = BARS[-(-count * (len(BARS) - 1) // top)]
        console.print(f"  {day:<11} {''.join(row)}  {sum(count for _, count in hours):>6,}", highlight=False)
    console.print()


def _isolation(report: Report, console: Console) -> None:
    logins = ", ".join(f"{login} {count}" for login, count in sorted(report.primary_statements.items()))
    console.print("[bold]Production[/] (pg_stat_statements)")
    console.print(f"  statements on the primary by the pipeline's logins: {logins}")
    console.print(f"  statements on the replica by fleetgauge_reader: {report.replica_statements}\n")


def _checks(report: Report, console: Console) -> None:
    table = Table(title="Compared with the truth", title_justify="left")
    table.add_column("what")
    table.add_column("compared", justify="right")
    table.add_column("result")
    for check in report.checks:
        if check.ok:
            result = "[green]equal[/]"
        elif not check.compared:
            result = "[red]nothing to compare[/]"
        else:
            result = "[red]" + "; ".join(check.differences[:3]) + "[/]"
        table.add_row(check.name, f"{check.compared:,}", result)
    console.print(table)
    runs = ", ".join(
        f"{dag}: {', '.join(f'{n} {state}' for state, n in sorted(states.items()))}"
        for dag, states in report.airflow_runs.items()
    )
    console.print(f"Airflow runs: {runs}")
    console.print(
        "Seconds: " + ", ".join(f"{step} {seconds:.0f}" for step, seconds in report.seconds.items()), highlight=False
    )
