"""What a refusal to prepare an index means for the exit code, and answers that are not what Elasticsearch says."""

import json

import pytest

from fleetgauge.contracts import ContractSet
from fleetgauge.elasticsearch.transport import Answer
from fleetgauge.errors import FleetgaugeError, Stop, Terminal, Transient
from fleetgauge.ingest.indices.event_indices import Indices


class Refusing:
    """Elasticsearch that answers every request in the same way."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def request(self, method: str, path: str, body: bytes | None) -> Answer:
        return self.answer


def told(status: int, kind: str) -> Answer:
    return Answer(status, json.dumps({"error": {"type": kind, "reason": "because"}, "status": status}).encode())


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (told(500, "null_pointer_exception"), Transient),
        (Answer(520, b"<html>a gateway's own words</html>"), Transient),
        (told(503, "cluster_block_exception"), Transient),
        (told(429, "es_rejected_execution_exception"), Transient),
        (told(403, "security_exception"), Stop),
        (told(400, "mapper_parsing_exception"), Terminal),
    ],
)
@pytest.mark.parametrize("step", ["prepare", "ensure"])
def test_a_server_that_fails_is_tried_again_and_a_wrong_request_is_not(
    contracts: ContractSet, step: str, answer: Answer, expected: type[FleetgaugeError]
) -> None:
    indices = Indices(Refusing(answer), "device-events", contracts)
    with pytest.raises(expected, match=f"refused (PUT|GET) .* with {answer.status}"):
        indices.prepare() if step == "prepare" else indices.ensure(["device-events-2026.11.21"])


class Saying:
    """Answers everything with one body."""

    def __init__(self, body: bytes, status: int = 200) -> None:
        self.body = body
        self.status = status

    def request(self, method: str, path: str, body: bytes | None) -> Answer:
        return Answer(self.status, self.body)


@pytest.mark.parametrize(
    "body",
    [b"<html>welcome</html>", b"", b"{", b'{"index_templates":[{}]}', b"[]", b'"x"', b"\xff", b"null", b"[" * 5000],
)
@pytest.mark.parametrize("step", ["prepare", "installed", "newer"])
def test_what_elasticsearch_does_not_say_is_tried_again_and_told(
    contracts: ContractSet, body: bytes, step: str
) -> None:
    with pytest.raises(Transient, match="not what Elasticsearch says"):
        getattr(Indices(Saying(body), "raw", contracts), step)()


@pytest.mark.parametrize("body", [b"<html>not here</html>", b'{"error":{"ty', b""])
def test_a_refusal_that_names_nothing_is_tried_again(contracts: ContractSet, body: bytes) -> None:
    with pytest.raises(Transient, match=r"answered 404 with .* not what Elasticsearch says"):
        Indices(Saying(body, 404), "raw", contracts).prepare()
