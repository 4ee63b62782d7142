"""The comparison of duplicates with what is stored never stands in the way of the work."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from fleetgauge.elasticsearch.transport import Answer
from fleetgauge.ingest.check.batch import Batch
from fleetgauge.ingest.deliver.collisions import Collisions


class Stored:
    """Answers `_mget` with one body."""

    def __init__(self, *documents: bytes, status: int = 200) -> None:
        self.documents, self.status = documents, status

    def request(self, method: str, path: str, body: bytes | None) -> Answer:
        wanted = json.loads(body or b"")["docs"]
        docs = [
            json.dumps(one).encode()[:-1] + b", " + document[1:] if document[:2] == b'{"' else document
            for one, document in zip(wanted, self.documents, strict=False)
        ]
        return Answer(self.status, b'{"docs":[' + b",".join(docs) + b"]}")


def source(payload: bytes) -> bytes:
    return b'{"_source":' + payload[:-1] + b',"@timestamp":1,"event.ingested":2,"kafka.partition":0,"kafka.offset":0}}'


def odd(world: Any, member: str) -> bytes:
    return b"{" + member.encode() + b"," + json.dumps(world.tip_over()).encode()[1:]


@pytest.mark.parametrize(
    "member",
    [
        '"x":1e400',
        '"x":-1e99999999999',
        '"x":1E-400',
        '"x":1' + "0" * 400,
        '"x":' + "[" * 300 + "]" * 300,
        '"x":' + '{"a":' * 300 + "1" + "}" * 300,
    ],
)
def test_odd_values_are_compared_or_left_alone(world: Any, batch_of: Callable[..., Batch], member: str) -> None:
    payload = odd(world, member)
    batch = batch_of(payload)
    assert len(batch) == 1 and not batch.poison
    assert Collisions(Stored(source(payload))).find(batch, [0]) == []


def test_nesting_that_this_thread_has_no_stack_for_is_left_alone(world: Any, batch_of: Callable[..., Batch]) -> None:
    payload = odd(world, '"x":' + "[" * 400 + "]" * 400)
    batch = batch_of(payload)
    assert not batch.poison
    compare = Collisions(Stored(source(payload))).find

    def deeper(frames: int) -> list[int]:
        return deeper(frames - 1) if frames else compare(batch, [0])

    assert deeper(700) == []


def test_another_payload_under_the_id_is_found(world: Any, batch_of: Callable[..., Batch]) -> None:
    batch = batch_of(odd(world, '"x":1e300'))
    assert Collisions(Stored(source(odd(world, '"x":1e301')))).find(batch, [0]) == [0]


@pytest.mark.parametrize(
    "answer", [Stored(b'{"found":false}'), Stored(b'{"error":{}}'), Stored(), Stored(b"?"), Stored(b"{}", status=503)]
)
def test_what_cannot_be_compared_is_no_collision(world: Any, batch_of: Callable[..., Batch], answer: Stored) -> None:
    assert Collisions(answer).find(batch_of(world.tip_over()), [0]) == []
