"""What is sent again over midnight: found in the neighbouring index, asked again when nobody answers."""

import json
from typing import Any

import pytest

from fleetgauge.elasticsearch.transport import Answer
from fleetgauge.errors import Transient
from fleetgauge.ingest.check.batch import Batch
from fleetgauge.ingest.deliver.resent import Resent


class Bulk:
    """Answers `_mget` from documents by (index, id), or with one answer."""

    def __init__(self, stored: dict[tuple[str, str], Any], answer: Answer | None = None) -> None:
        self.stored = stored
        self.answer = answer
        self.asked = 0

    def request(self, method: str, path: str, body: bytes | None) -> Answer:
        self.asked += 1
        if self.answer is not None:
            return self.answer
        docs = []
        index = path.split("/")[1]
        for id_ in json.loads(body or b"{}")["ids"]:
            found = self.stored.get((index, id_))
            source = {} if found is None or path.endswith("false") else {"_source": found}
            docs.append({"_index": index, "_id": id_, "found": found is not None} | source)
        return Answer(200, json.dumps({"docs": docs}).encode())


class Events(Batch):
    """A batch of payloads with (index, id), for what asks a batch about them."""

    def __init__(self, *events: tuple[str, str, dict[str, Any]], near: dict[int, str]) -> None:
        neighbours = {i: (events[i][0], other, events[i][1]) for i, other in near.items()}
        super().__init__(0.0, documents=len(events), near_midnight=neighbours)
        self.events = events

    def id_of(self, i: int) -> tuple[str, str]:
        return self.events[i][:2]

    def record(self, i: int) -> Any:
        return type("R", (), {"value": json.dumps(self.events[i][2]).encode()})


def find(bulk: Bulk, batch: Events, told: list[str] | None = None) -> list[int]:
    return Resent(bulk, (told if told is not None else []).append).find(batch)  # type: ignore[arg-type]


def test_nothing_near_midnight_asks_nothing() -> None:
    bulk = Bulk({})
    assert find(bulk, Events(("b", "1", {"timestamp": 5}), near={})) == []
    assert bulk.asked == 0


@pytest.mark.parametrize(
    ("docs", "wrong"),
    [
        ('{"_index":"a","_id":"1","found":false},{"_index":"a","_id":"2","found":false}', False),
        ('{ "_index":"a","_id":"1","found":false},{"_index":"a","_id":"2","found":false}', False),
        ('{"_index":"a","_id":"2","found":false},{"_index":"a","_id":"1","found":false}', True),
        ('{"_index":"b","_id":"1","found":false},{"_index":"b","_id":"2","found":false}', True),
        ('{"_index":"a","_id":"1","found":false}', True),
    ],
)
def test_an_answer_that_nothing_is_stored_is_about_what_was_asked(docs: str, wrong: bool) -> None:
    answer = Answer(200, f'{{"docs":[{docs}]}}'.encode())
    batch = Events(("b", "1", {"timestamp": 5}), ("b", "2", {"timestamp": 5}), near={0: "a", 1: "a"})
    if wrong:
        with pytest.raises(Transient, match="other documents"):
            find(Bulk({}, answer), batch)
    else:
        assert find(Bulk({}, answer), batch) == []


def test_the_same_but_for_its_time_is_found_and_nothing_else() -> None:
    stored = {("a", "1"): {"timestamp": 1, "x": 1, "kafka.offset": 9}, ("a", "2"): {"timestamp": 1, "x": 2}}
    stored["a", "3"] = {"timestamp": -9_000_000, "x": 1}
    batch = Events(*(("b", id_, {"timestamp": 5, "x": 1}) for id_ in "1234"), near=dict.fromkeys(range(4), "a"))
    assert find(Bulk(stored), batch) == [0]


def test_twins_of_one_batch_are_found_too() -> None:
    batch = Events(("a", "1", {"timestamp": 1}), ("b", "1", {"timestamp": 5}), near={0: "b", 1: "a"})
    assert find(Bulk({}), batch) == [1]


@pytest.mark.parametrize("answer", [Answer(503, b""), Answer(200, b"<html>"), Answer(200, b'{"docs":[]}')])
def test_without_an_answer_it_is_asked_again(answer: Answer) -> None:
    with pytest.raises(Transient):
        find(Bulk({}, answer), Events(("b", "1", {"timestamp": 5}), near={0: "a"}))


def test_without_the_right_it_goes_on_and_says_so() -> None:
    told: list[str] = []
    assert find(Bulk({}, Answer(403, b"{}")), Events(("b", "1", {"timestamp": 5}), near={0: "a"}), told) == []
    assert "roles.yml" in told[0]


def test_a_stored_document_that_cannot_be_read_holds_nothing_up() -> None:
    class Deep(Bulk):
        def request(self, method: str, path: str, body: bytes | None) -> Answer:
            if path.endswith("false"):
                return super().request(method, path, body)
            deep = b"[" * 5000 + b"]" * 5000
            return Answer(200, b'{"docs":[{"_index":"a","_id":"1","found":true,"_source":{"x":' + deep + b"}}]}")

    told: list[str] = []
    batch = Events(("b", "1", {"timestamp": 5}), near={0: "a"})
    assert find(Deep({("a", "1"): {"timestamp": 1}}), batch, told) == []
    assert told


def test_a_day_that_does_not_exist_is_asked_for_once() -> None:
    missing = {"_index": "a", "error": {"type": "index_not_found_exception"}}

    class Missing(Bulk):
        def request(self, method: str, path: str, body: bytes | None) -> Answer:
            self.asked += 1
            docs = [missing | {"_id": id_} for id_ in json.loads(body or b"{}")["ids"]]
            return Answer(200, json.dumps({"docs": docs}).encode())

    many = 2_500
    batch = Events(*(("b", f"{i}", {"timestamp": 5}) for i in range(many)), near=dict.fromkeys(range(many), "a"))
    bulk, told = Missing({}), list[str]()
    assert (find(bulk, batch, told), bulk.asked, told) == ([], 1, [])


def test_what_was_found_before_a_refusal_still_counts_once() -> None:
    class Tired(Bulk):
        def request(self, method: str, path: str, body: bytes | None) -> Answer:
            many = len(json.loads(body or b"{}")["ids"])
            return Answer(403, b"{}") if many == 500 else super().request(method, path, body)

    many, told = 1_500, list[str]()
    batch = Events(*(("b", f"{i}", {"timestamp": 5}) for i in range(many)), near=dict.fromkeys(range(many), "a"))
    assert find(Tired({("a", "7"): {"timestamp": 1}}), batch, told) == [7]
    assert len(told) == 1
