"""A batch is written until every event is final; faults are injected at the port."""

import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
from delivery_world import MakeBatch, Rig, answer, numbered, rig_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetgauge.contracts import ContractSet
from fleetgauge.elasticsearch.transport import Answer
from fleetgauge.errors import Stop, Transient
from fleetgauge.ingest import consumer_metrics as m
from fleetgauge.ingest.check.batch import Batch
from fleetgauge.ingest.consumer import Consumer, DeadLetterLimit
from fleetgauge.ingest.deadletters.limit import DeadLetterGuard
from fleetgauge.ingest.deliver.delivery import Report, full_jitter


@pytest.fixture
def events(world: Any, batch_of: MakeBatch) -> Callable[[int], Batch]:
    return numbered(world, batch_of)


@pytest.fixture
def rig(world: Any, contracts: ContractSet) -> Rig:
    return rig_of(world, contracts)


def counted(rig: Rig, metric: m.ExportedMetric) -> float:
    (family,) = (one for one in rig.metrics.registry.collect() if f"{one.name}_total" == metric.name)
    return sum(sample.value for sample in family.samples if sample.name == metric.name)


def test_everything_is_stored_once_and_a_replay_is_all_duplicates(rig: Rig, events: Callable[[int], Batch]) -> None:
    first, second = rig.deliver(events(5)), rig.deliver(events(5))
    assert (first.created, first.duplicates, first.finished) == (5, 0, True)
    assert (second.created, second.duplicates, second.finished) == (0, 5, True)
    assert len(rig.bulk.documents) == 5
    assert rig.bulk.indices == {"device-events-2025.11.21"}
    assert counted(rig, m.COLLISIONS) == 0


def test_another_body_under_the_same_id_is_counted_as_a_collision(rig: Rig, world: Any, batch_of: MakeBatch) -> None:
    rig.deliver(batch_of(world.tip_over(1)))
    report = rig.deliver(batch_of(world.tip_over(1, tipped_over=False)))
    assert report.finished and report.duplicates == 0
    (dead_letter,) = rig.dead_letters.sent
    assert (dead_letter.kind, dead_letter.error_type) == (
        "collision",
        "collision",
    ) and b'"tipped_over": false' in dead_letter.record.value
    assert counted(rig, m.COLLISIONS) == 1


def test_all_that_a_device_numbers_anew_is_kept(rig: Rig, world: Any, batch_of: MakeBatch) -> None:
    others = [{"id": f"sc-{number}", "model": "m365", "firmware": "2.4.1"} for number in range(2, 400)]
    many = [world.tip_over(0, device=other) for other in others]
    rig.deliver(batch_of(*many, *(world.tip_over(number) for number in range(300))))
    rebooted = [world.tip_over(number, tipped_over=False) for number in range(300)]
    report = rig.deliver(batch_of(*rebooted, *many))
    assert (report.created, report.duplicates, report.finished) == (0, 398, True)
    assert {dead_letter.record.offset for dead_letter in rig.dead_letters.sent} == set(range(300))
    assert sum(rig.bulk.compared) < 330  # the others are a sample still
    rig.bulk.compared.clear()
    report = rig.deliver(batch_of(*many, *rebooted[:2]))  # the device is watched from now on
    assert report.duplicates == 398 and len(rig.dead_letters.sent) == 302
    assert 20 <= sum(rig.bulk.compared) <= 22


def test_a_watched_device_is_not_let_through_uncompared(rig: Rig, world: Any, batch_of: MakeBatch) -> None:
    rig.deliver(batch_of(world.tip_over(1)))
    rig.deliver(batch_of(world.tip_over(1, tipped_over=False)))
    request, failures = (
        rig.bulk.request,
        [Transient("reset"), Answer(503, b""), Answer(200, b"<html>"), Answer(200, b"{}")],
    )

    def flaky(method: str, path: str, body: bytes | None) -> Answer:
        if path.startswith("/_mget") and failures:
            step = failures.pop(0)
            if isinstance(step, Exception):
                raise step
            return step
        return request(method, path, body)

    rig.bulk.request = flaky
    report = rig.deliver(batch_of(world.tip_over(1, tipped_over=False)))
    assert report.finished and len(rig.dead_letters.sent) == 2 and rig.waits == [1, 2, 3, 4]


def test_a_neighbouring_day_that_may_not_be_read_holds_nothing_up_and_is_counted(
    rig: Rig, world: Any, batch_of: MakeBatch
) -> None:
    request = rig.bulk.request

    def refusing(method: str, path: str, body: bytes | None) -> Answer:
        return answer(403, "security_exception") if "/_mget" in path else request(method, path, body)

    rig.bulk.request = refusing
    midnight = 1_763_683_200_000  # 2025-11-21T00:00Z
    report = rig.deliver(batch_of(world.tip_over(1, timestamp=midnight), timestamp=midnight))
    assert (report.created, report.finished) == (1, True)
    assert counted(rig, m.NEIGHBOURS_UNREAD) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Transient("connection reset"),
        answer(429, "es_rejected_execution_exception"),
        answer(503, "cluster_block_exception"),
        Answer(502, b"<html>bad gateway</html>"),
        answer(403, "cluster_block_exception"),
    ],
)
def test_a_refused_request_is_sent_again_whole(rig: Rig, events: Callable[[int], Batch], fault: Any) -> None:
    rig.bulk.script = [fault, fault]
    report = rig.deliver(events(4))
    assert (report.created, report.finished) == (4, True)
    assert rig.bulk.sizes == [4, 4, 4]
    assert rig.waits == [1, 2]


def test_a_time_out_after_the_write_gives_duplicates_not_copies(rig: Rig, events: Callable[[int], Batch]) -> None:
    batch = events(3)
    rig.bulk.documents = {batch.id_of(i): batch.body([i]).split(b"\n")[1] for i in range(2)}
    rig.bulk.script = [Transient("time-out")]
    report = rig.deliver(batch)
    assert (report.created, report.duplicates, report.finished) == (1, 2, True)


def test_only_the_items_that_failed_are_sent_again(rig: Rig, events: Callable[[int], Batch]) -> None:
    failures = {"sc-1:e-1": 2, "sc-1:e-3": 1}

    def refuse(_index: str, document_id: str) -> tuple[int, str, str] | None:
        if failures.get(document_id, 0):
            failures[document_id] -= 1
            return 429, "es_rejected_execution_exception", "queue is full"
        return None

    rig.bulk.refuse = refuse
    report = rig.deliver(events(5))
    assert (report.created, report.duplicates, report.finished) == (5, 0, True)
    assert rig.bulk.sizes == [5, 2, 1]


def test_too_large_requests_are_halved_and_a_lone_giant_is_dead_lettered(
    rig: Rig, events: Callable[[int], Batch]
) -> None:
    giant = "sc-1:e-5"

    def limited(ids: list[tuple[str, str]]) -> Answer:
        rig.bulk.script = [limited]
        if len(ids) > 3 or giant in [document_id for _, document_id in ids]:
            return Answer(413, b"")
        rig.bulk.documents.update(dict.fromkeys(ids, b"{}"))
        return Answer(200, b'{"errors":false,"items":[' + b",".join([b'{"create":{"status":201}}'] * len(ids)) + b"]}")

    rig.bulk.script = [limited]
    report = rig.deliver(events(8))
    assert (report.created, report.finished) == (7, True)
    assert rig.bulk.sizes == [8, 4, 2, 2, 4, 2, 1, 1, 2]
    assert [(x.record.offset, x.error_type) for x in rig.dead_letters.sent] == [(5, "item_too_large")]
    assert rig.waits == []


def test_an_index_deleted_under_way_is_created_again(rig: Rig, events: Callable[[int], Batch]) -> None:
    rig.deliver(events(1))
    rig.bulk.indices.clear()
    rig.bulk.refuse = lambda index, _id: (
        None if index in rig.bulk.indices else (404, "index_not_found_exception", "no such index")
    )
    report = rig.deliver(events(3))
    assert report.finished and rig.bulk.indices == {"device-events-2025.11.21"}


def test_cancelling_ends_the_retries_without_finishing(rig: Rig, events: Callable[[int], Batch]) -> None:
    rig.bulk.refuse = lambda _index, _id: (403, "cluster_block_exception", "read-only")
    rig.wait_s = 60.0
    batch = events(2)
    reports: list[Report] = []
    thread = threading.Thread(target=lambda: reports.append(rig.deliver(batch)))
    thread.start()
    batch.cancel()
    thread.join(10)
    assert not reports[0].finished and reports[0].error is None


def test_when_elasticsearch_is_back_nobody_waits_longer(rig: Rig, events: Callable[[int], Batch], world: Any) -> None:
    away, waiting = threading.Event(), threading.Barrier(3, timeout=10)
    away.set()
    request, back_off = rig.bulk.request, rig.back_off

    def refuse(method: str, path: str, body: bytes | None) -> Answer:
        if away.is_set():
            raise Transient("connection refused")
        return request(method, path, body)

    def wait(tries: int) -> float:
        back_off(tries)
        waiting.wait()
        return 60.0

    rig.bulk.request = refuse
    rig.back_off = wait  # type: ignore[method-assign]
    reports: list[Report] = []
    threads = [
        threading.Thread(target=lambda batch=batch: reports.append(rig.deliver(batch)))
        for batch in (events(2), events(2))
    ]
    for thread in threads:
        thread.start()
    waiting.wait()
    away.clear()
    rig.delivery.try_now()
    for thread in threads:
        thread.join(10)
    assert [report.finished for report in reports] == [True, True] and rig.waits == [1, 1]
    assert sorted((report.created, report.duplicates) for report in reports) == [(0, 2), (2, 0)]


def test_dead_letters_are_durable_before_the_batch_is_finished(rig: Rig, batch_of: MakeBatch) -> None:
    rig.dead_letters.script = [Transient("no leader"), Transient("no leader")]
    report = rig.deliver(batch_of(b"broken"))
    assert report.finished and len(rig.dead_letters.sent) == 1 and rig.waits == [1, 2]
    rig.dead_letters.script = [Stop("no right")]
    report = rig.deliver(batch_of(b"broken"))
    assert isinstance(report.error, Stop) and not report.finished


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_schedule_of_faults_loses_or_doubles_an_event(
    world: Any, contracts: ContractSet, batch_of: MakeBatch, data: st.DataObject
) -> None:
    rig = Rig(world, contracts, DeadLetterLimit(consecutive=1000))
    count = data.draw(st.integers(1, 12))
    poisonous = data.draw(st.sets(st.integers(0, count - 1)))
    flaky = {number: data.draw(st.integers(0, 3)) for number in range(count)}
    kinds = ((429, "x"), (503, "y"), (403, "cluster_block_exception"), (404, "index_not_found_exception"))

    def refuse(_index: str, document_id: str) -> tuple[int, str, str] | None:
        number = int(document_id.rpartition("-")[2])
        if flaky[number] > 0:
            flaky[number] -= 1
            return *data.draw(st.sampled_from(kinds)), ""
        return (400, "document_parsing_exception", "") if number in poisonous else None

    rig.bulk.refuse = refuse
    rig.bulk.script = data.draw(
        st.lists(st.sampled_from([Transient("reset"), answer(503, "z"), Answer(413, b"")]), max_size=4)
    )
    if count == 1:
        rig.bulk.script = [step for step in rig.bulk.script if getattr(step, "status", 0) != 413]
    report = rig.deliver(batch_of(*(world.tip_over(number) for number in range(count))))
    dead_lettered = {dead_letter.record.offset for dead_letter in rig.dead_letters.sent}
    stored = {int(document_id.rpartition("-")[2]) for _, document_id in rig.bulk.documents}
    assert report.finished
    assert stored.isdisjoint(dead_lettered)
    assert stored | dead_lettered == set(range(count))
    assert report.created == len(stored)


def test_back_off_is_jittered_and_capped() -> None:
    random_ = random.Random(7)
    waits = [[full_jitter(tries, random_) for _ in range(200)] for tries in (1, 3, 50)]
    assert min(waits[0]) >= 0 and max(waits[0]) <= 0.25
    assert 0.5 < max(waits[1]) <= 1.0
    assert 25 < max(waits[2]) <= 30 and min(waits[2]) < 5


def test_the_limit_counts_runs_and_shares_by_partition(world: Any, batch_of: MakeBatch) -> None:
    good = world.tip_over
    run = DeadLetterGuard("test", DeadLetterLimit(consecutive=3, ratio=1.0, minimum=1000))
    run.admit(batch_of(b"x", b"x", good(1), b"x", b"x"))
    with pytest.raises(
        Stop, match=r"3 records in a row are broken in device-events partition 0.*the last was not_json"
    ):
        run.admit(batch_of(b"x", good(1)))  # the run goes on over batches
    healed = DeadLetterGuard("test", DeadLetterLimit(consecutive=3, ratio=1.0, minimum=1000))
    for _ in range(5):
        healed.admit(batch_of(b"x", b"x"))
        healed.admit(batch_of(good(1)))
    share = DeadLetterGuard("test", DeadLetterLimit(consecutive=1000, ratio=0.25, minimum=8))
    share.admit(batch_of(b"x", b"x", good(1), good(2), good(3)))
    with pytest.raises(Stop, match="3 of the last 8 records are broken"):
        share.admit(batch_of(good(1), b"x", good(3), good(4)))


def test_a_topic_of_only_broken_payloads_is_not_dead_lettered(
    world: Any, contracts: ContractSet, batch_of: MakeBatch
) -> None:
    rig = Rig(world, contracts, DeadLetterLimit(consecutive=10))
    report = rig.deliver(batch_of(*[b"broken"] * 50))
    assert isinstance(report.error, Stop) and "10 records in a row" in str(report.error)
    assert not rig.dead_letters.sent and not report.finished


def test_declared_consumers_are_small_and_valid(consumer: Consumer) -> None:
    assert consumer.group == "fleetgauge-device-events"
    assert consumer.dead_letter_topic == "device-events.dlq"
