"""A line in the log about a record says whose, where and which; payloads stay out of it."""

from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from fleetgauge.contracts import ContractSet
from fleetgauge.errors import Transient
from fleetgauge.ingest.check.batch import Batch
from fleetgauge.ingest.consumer import DeadLetterLimit
from fleetgauge.ingest.consumer_metrics import APPEND_TO_ACK, Metrics
from fleetgauge.ingest.deadletters.limit import DeadLetterGuard
from fleetgauge.ingest.deliver.delivery import Delivery
from fleetgauge.ingest.indices.event_indices import Indices

MakeBatch = Callable[..., Batch]


@pytest.fixture
def rig(world: Any, contracts: ContractSet) -> Any:
    """Fakes and a delivery over them that does not wait."""

    class Rig:
        bulk, dead_letters, metrics = world.Bulk(), world.DeadLetters(), Metrics("mine")

        def deliver(self, batch: Batch) -> list[Any]:
            indices = Indices(self.bulk, "device-events", contracts)
            limit = DeadLetterGuard("mine", DeadLetterLimit())
            made = Delivery("mine", self.bulk, indices, self.dead_letters, limit, self.metrics, lambda _tries: 0.0)
            with capture_logs() as logs:
                self.report = made.deliver(batch)
            return logs

    return Rig()


def test_retries_name_the_first_record_concerned(rig: Any, world: Any, batch_of: MakeBatch) -> None:
    refusals = [(429, "es_rejected_execution_exception", "queue is full")]
    rig.bulk.refuse = lambda _index, id_: refusals.pop() if id_.endswith("e-2") and refusals else None
    retried, stored = rig.deliver(batch_of(*(world.tip_over(number) for number in range(4))))
    assert retried["event"] == "events are being retried" and stored["event"].endswith("are stored")
    for line in (retried, stored):
        assert (line["consumer"], line["partition"], line["offset"]) == ("mine", 0, 2)


def test_dead_letters_that_cannot_be_written_name_the_broken_record(rig: Any, world: Any, batch_of: MakeBatch) -> None:
    rig.dead_letters.script = [Transient("no broker")]
    (line,) = rig.deliver(batch_of(world.tip_over(0), world.tip_over(1), b"broken"))
    assert (line["error_type"], line["because"]) == ("dead_letters", "no broker")
    assert (line["consumer"], line["partition"], line["offset"]) == ("mine", 0, 2)


def test_an_error_of_ours_names_what_the_batch_held(rig: Any, world: Any, batch_of: MakeBatch) -> None:
    rig.bulk.script = [ZeroDivisionError("ours")]
    (line,) = rig.deliver(batch_of(world.tip_over(0), world.tip_over(1)))
    assert (line["consumer"], line["offsets"]) == ("mine", {0: 2})


def test_a_collision_names_the_record_and_shows_neither_document(rig: Any, world: Any, batch_of: MakeBatch) -> None:
    rig.deliver(batch_of(world.tip_over(1)))
    (line,) = rig.deliver(batch_of(world.tip_over(0), world.tip_over(1, tipped_over=False)))
    assert "kept as a dead letter" in line["event"]
    assert (line["consumer"], line["partition"], line["offset"]) == ("mine", 0, 1)
    assert "tipped_over" not in str(line)


def test_the_way_of_the_oldest_record_is_measured_once_it_is_final(rig: Any, world: Any, batch_of: MakeBatch) -> None:
    def count() -> float:
        return float(rig.metrics.registry.get_sample_value(f"{APPEND_TO_ACK.name}_count", {"consumer": "mine"}) or 0)

    cancelled = batch_of(world.tip_over(0))
    cancelled.cancel()
    rig.deliver(cancelled)
    assert count() == 0
    rig.deliver(batch_of(world.tip_over(0)))
    assert count() == 1
    rig.deliver(batch_of(world.tip_over(1), timestamp=-1, headers=[("fleetgauge.timestamp", b"%d" % world.now)]))
    assert rig.report.finished and count() == 1  # Kafka gave no time
