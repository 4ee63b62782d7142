"""What a message costs by the tariff files, read by means of the simulator's own."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import yaml

from fleetgauge.errors import Terminal


@dataclass(frozen=True, slots=True)
class Price:
    """An entry of a tariff, from a date on."""

    carrier: str
    from_ms: int
    overhead: int
    step: int
    price: Decimal

    def of(self, nbytes: int) -> Decimal:
        """KRW for one message: every started step is charged."""
        return -(-(nbytes + self.overhead) // self.step) * self.price


def prices(folder: Path) -> list[Price]:
    """All entries, newest first."""
    found = []
    for path in sorted(folder.glob("*.yaml")):
        for entry in yaml.safe_load(path.read_text())["entries"]:
            if entry["rounding"] != "message":
                raise Terminal(f"{path}: the ground truth can only price rounding by message, not {entry['rounding']}")
            from_ms = int(datetime.fromisoformat(str(entry["valid_from"])).timestamp() * 1000)
            overhead, step, price = entry["overhead_bytes"], entry["step_bytes"], Decimal(entry["price"])
            found.append(Price(entry["carrier"], from_ms, overhead, step, price))
    return sorted(found, key=lambda p: -p.from_ms)
