"""A delivery whose port answers what a test says."""

import json
from collections.abc import Callable
from typing import Any

from fleetgauge.contracts import ContractSet
from fleetgauge.elasticsearch.transport import Answer
from fleetgauge.ingest.check.batch import Batch
from fleetgauge.ingest.consumer import DeadLetterLimit
from fleetgauge.ingest.consumer_metrics import Metrics
from fleetgauge.ingest.deadletters.limit import DeadLetterGuard
from fleetgauge.ingest.deliver.delivery import Delivery, Report
from fleetgauge.ingest.indices.event_indices import Indices

MakeBatch = Callable[..., Batch]


class Rig:
    """A delivery over fakes, without waiting between attempts."""

    def __init__(self, world: Any, contracts: ContractSet, limit: DeadLetterLimit) -> None:
        self.bulk = world.Bulk()
        self.dead_letters = world.DeadLetters()
        self.metrics = Metrics("test")
        self.waits: list[int] = []
        indices = Indices(self.bulk, "device-events", contracts)
        self.delivery = Delivery(
            "test",
            self.bulk,
            indices,
            self.dead_letters,
            DeadLetterGuard("test", limit),
            self.metrics,
            back_off=lambda tries: self.back_off(tries),
        )
        self.wait_s = 0.0

    def back_off(self, tries: int) -> float:
        """Seconds until the next try; a test may put another in its place."""
        self.waits.append(tries)
        return self.wait_s

    def deliver(self, batch: Batch) -> Report:
        return self.delivery.deliver(batch)


def rig_of(world: Any, contracts: ContractSet) -> Rig:
    return Rig(world, contracts, DeadLetterLimit())


def numbered(world: Any, batch_of: MakeBatch) -> Callable[[int], Batch]:
    return lambda count: batch_of(*(world.tip_over(number) for number in range(count)))


def answer(status: int, error_type: str, reason: str = "because") -> Answer:
    return Answer(status, json.dumps({"error": {"type": error_type, "reason": reason}, "status": status}).encode())
