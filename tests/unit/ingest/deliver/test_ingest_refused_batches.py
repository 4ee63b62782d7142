"""What Elasticsearch answers that no retry helps against stops the consumer, or is dead-lettered alone."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from delivery_world import MakeBatch, Rig, answer, numbered, rig_of

from fleetgauge.contracts import ContractSet
from fleetgauge.elasticsearch.transport import Answer
from fleetgauge.errors import Stop
from fleetgauge.ingest.check.batch import Batch


@pytest.fixture
def events(world: Any, batch_of: MakeBatch) -> Callable[[int], Batch]:
    return numbered(world, batch_of)


@pytest.fixture
def rig(world: Any, contracts: ContractSet) -> Rig:
    return rig_of(world, contracts)


def test_a_document_that_elasticsearch_cannot_read_is_dead_lettered_alone(
    rig: Rig, events: Callable[[int], Batch]
) -> None:
    rig.bulk.refuse = lambda _index, document_id: (
        (400, "document_parsing_exception", "failed to parse") if document_id == "sc-1:e-2" else None
    )
    report = rig.deliver(events(4))
    assert (report.created, report.finished) == (3, True)
    assert [(x.record.offset, x.error_type) for x in rig.dead_letters.sent] == [(2, "document_parsing_exception")]


@pytest.mark.parametrize(
    ("refusal", "says"),
    [
        ((403, "security_exception", "unauthorized"), "create_doc"),
        ((400, "illegal_argument_exception", "unheard of"), "docs/ingest.md"),
        ((500, "null_pointer_exception", "oops"), "docs/ingest.md"),
    ],
)
def test_security_and_unknown_item_errors_stop(
    rig: Rig, events: Callable[[int], Batch], refusal: tuple[int, str, str], says: str
) -> None:
    rig.bulk.refuse = lambda _index, document_id: refusal if document_id == "sc-1:e-1" else None
    report = rig.deliver(events(3))
    assert isinstance(report.error, Stop) and not report.finished
    assert "device-events partition 0 offset 1" in str(report.error)
    assert refusal[1] in str(report.error) and says in str(report.error)
    assert not rig.dead_letters.sent


@pytest.mark.parametrize(
    "fault",
    [
        answer(401, "security_exception", "missing authentication credentials"),
        answer(403, "security_exception", "unauthorized"),
        answer(400, "illegal_argument_exception", "Malformed action/metadata line"),
        Answer(404, b"<html>not here</html>"),
        Answer(200, b"<html>welcome</html>"),
        Answer(200, b'{"errors":false,"items":[{"create":{"status":201}}]}'),
        Answer(200, b'{"errors":false,"items":[]}'),
    ],
)
def test_refused_logins_and_strange_answers_stop(rig: Rig, events: Callable[[int], Batch], fault: Answer) -> None:
    rig.bulk.script = [fault]
    report = rig.deliver(events(3))
    assert isinstance(report.error, Stop) and not report.finished
    assert not rig.dead_letters.sent and rig.waits == []


def test_an_answer_about_other_events_stops(rig: Rig, events: Callable[[int], Batch]) -> None:
    def swapped(ids: list[tuple[str, str]]) -> Answer:
        items = [{"create": {"_id": id_, "status": 201}} for _, id_ in reversed(ids)]
        items[0]["create"] |= {"status": 400, "error": {"type": "document_parsing_exception", "reason": "?"}}  # type: ignore[dict-item]
        return Answer(200, json.dumps({"errors": True, "items": items}).encode())

    rig.bulk.script = [swapped]
    report = rig.deliver(events(3))
    assert isinstance(report.error, Stop) and "'sc-1:e-2' where 'sc-1:e-0' was sent" in str(report.error)
    assert not rig.dead_letters.sent and not report.finished


@pytest.mark.parametrize(
    "body", [b'{"items":[{},{},{}]}', b'{"items":[{"a":{"status":201},"b":{"status":201}}]}', b"", b"{"]
)
def test_an_answer_of_no_shape_stops(rig: Rig, events: Callable[[int], Batch], body: bytes) -> None:
    rig.bulk.script = [Answer(200, body)]
    report = rig.deliver(events(1))
    assert isinstance(report.error, Stop) and "a bulk answer" in str(report.error)


def test_an_error_of_ours_stops_and_names_itself(rig: Rig, events: Callable[[int], Batch]) -> None:
    rig.bulk.script = [ZeroDivisionError("a bug")]
    report = rig.deliver(events(1))
    assert isinstance(report.error, Stop) and "ZeroDivisionError" in str(report.error)
