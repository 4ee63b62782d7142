"""What traffic costs by the tariff files, read by means of the simulator's own."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import yaml

from fleetgauge.errors import Terminal

FOR_EVER = 1 << 62


@dataclass(frozen=True, slots=True)
class Price:
    """An entry of a tariff, in force from `from_ms` until before `until_ms`."""

    carrier: str
    from_ms: int
    overhead: int
    step: int
    price: Decimal
    rounding: str = "message"
    until_ms: int = FOR_EVER
    base_fee: Decimal = Decimal(0)
    allowance: int = 0
    sims: int | None = None

    def of(self, nbytes: int) -> Decimal:
        """KRW for one message that is rounded by itself: every started step is charged."""
        return self.steps(nbytes + self.overhead) * self.price

    def steps(self, volume: int) -> int:
        """Started steps."""
        return -(-volume // self.step)


def prices(folder: Path) -> list[Price]:
    """All entries, newest first. Raises `Terminal` for a second dimension of price, which the simulator has not."""
    found = []
    for path in sorted(folder.glob("*.yaml")):
        for entry in yaml.safe_load(path.read_text())["entries"]:
            if entry.get("price_class"):
                raise Terminal(f"{path}: the ground truth knows no price_class ({entry['price_class']})")
            found.append(
                Price(
                    entry["carrier"],
                    _ms(entry["valid_from"]),
                    entry["overhead_bytes"],
                    entry["step_bytes"],
                    Decimal(entry["price"]),
                    entry["rounding"],
                    _ms(entry["valid_to"]) if "valid_to" in entry else FOR_EVER,
                    Decimal(entry.get("base_fee", "0")),
                    entry.get("allowance_bytes", 0),
                    entry.get("sims"),
                )
            )
    return sorted(found, key=lambda p: -p.from_ms)


def in_force(entries: list[Price], carrier: str, at_ms: int) -> Price | None:
    """The entry of a carrier at an instant; `entries` as `prices` gives them."""
    entry = next((p for p in entries if p.carrier == carrier and p.from_ms <= at_ms), None)
    return None if entry is None or at_ms >= entry.until_ms else entry


def _ms(instant: object) -> int:
    return int(datetime.fromisoformat(str(instant)).timestamp() * 1000)
