"""What the README says the demo's company would save is what `whatif` says of three weeks of it."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from test_whatif import day_of, usage_of

from fleetgauge.cost import whatif
from fleetgauge.cost.estimates import Amounts, estimate
from fleetgauge.cost.tariff import load_tariffs
from fleetlab.simulator.records import VALID, Record
from fleetlab.simulator.scale import Scale
from fleetlab.simulator.timeline import Timeline

ROOT = Path(__file__).parents[3]
WEEKS = (date(2026, 11, 8), date(2026, 11, 28))


def messages() -> Iterator[Record]:
    """Every message of the three weeks, once, as the pipeline stores it; the day before them warms up."""
    scale = Scale(vehicles=900, days=22, seed=1, live_seconds=0)
    seen = set()
    for part in Timeline.ending(scale, datetime(2026, 11, 28, 15, tzinfo=UTC)).backlog():
        for one in part:
            key = hash((one.device, one.event_id))
            if one.fault == VALID and one.direction and WEEKS[0] <= day_of(one) <= WEEKS[1] and key not in seen:
                seen.add(key)
                yield one


def said(amount: Amounts) -> str:
    return f"{amount.expected / 1_000_000:.1f}"


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_readme_says_what_the_tool_says() -> None:
    usage = usage_of(messages())
    commands = {one.subject for one in usage if one.stream == "commands"}
    half = Fraction(1, 2)
    changes = {
        "payload": [whatif.payload("locate", "uplink", 1_024, None)],
        "positions": [whatif.rate("location", half)],
        "locate": [whatif.rate("locate", half)],
        "tries": [whatif.retries(name, Fraction(0)) for name in sorted(commands)],
        "kt": [whatif.split({"skt": Fraction(0), "kt": Fraction(1), "lguplus": Fraction(0)})],
    }
    at = datetime(2026, 11, 28, 3, tzinfo=UTC)
    found = {name: estimate(usage, load_tariffs(ROOT), at, change) for name, change in changes.items()}
    first = found["payload"]
    low, high = (f"{amount / 1_000_000:.2f}" for amount in (first.saving.low, first.saving.high))
    assert low == high, "the README says one number for all whole weeks"
    assert found["kt"].saving.expected / found["kt"].year_before.expected == pytest.approx(
        Decimal("0.25"), abs=Decimal("0.02")
    )
    told = (
        f"{first.messages / 1_000_000:.1f} million messages",
        f"save {said(first.saving)} million KRW a year** ({low} in each whole week)"
        f" of the {said(first.year_before)} million",
        f"positions of riding vehicles would save {said(found['positions'].saving)} million",
        f"half as many `locate` {said(found['locate'].saving)}",
        f"no further tries {said(found['tries'].saving)}",
        "all SIMs at KT a quarter of it all",
    )
    readme = re.sub(r"\s+", " ", (ROOT / "README.md").read_text("utf-8"))
    assert [one for one in told if one not in readme] == []
