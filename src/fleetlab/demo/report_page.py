"""The last step of the demo: what the company's numbers come to, as a page that a newcomer opens."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from fleetgauge.reports import page
from fleetgauge.reports.fleet_report import Asked, make_report
from fleetgauge.settings import Settings
from fleetlab.demo.report import Check
from fleetlab.simulator.world import FIRMWARE_FAILURE

NAME = "report.html"
"""In the folder of the stack; it stays there when the servers' data are removed."""


def write_page(settings: Settings, file: Path, days: int) -> dict[str, Any]:
    """Make the report of the last part of the company's time and write the page; no day is looked at for suspects.

    Returns the report as its JSON has it. Blocks for some seconds; raises `FleetgaugeError`.
    """
    report = make_report(settings, Asked(length=timedelta(days=1) if days > 1 else timedelta(hours=6))).to_dict()
    page.write(report, file)
    return report


def check(report: dict[str, Any]) -> Check:
    """Whether it has all sections, each with something in it, and names the firmware that the simulator made bad."""
    found = {
        "commands": report["commands"] and report["commands"]["costliest"],
        "firmware": report["firmware"] and report["firmware"]["versions"],
        "fleet": report["fleet"] and report["fleet"]["states"],
        "business": report["business"] and report["business"]["zones"],
    }
    wrong = [f"no {name}" for name, rows in found.items() if not rows]
    planted = max(FIRMWARE_FAILURE, key=FIRMWARE_FAILURE.__getitem__)
    worst = report["firmware"] and report["firmware"]["worst"]
    if worst not in (None, planted):
        wrong.append(f"accuses firmware {worst}, but {planted} was made bad")
    return Check("sections of the report; a firmware that it accuses is the bad one", len(found) + 1, tuple(wrong))
