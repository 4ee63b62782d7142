"""Answers of Elasticsearch whose documents only the standard library can read."""

import json

import msgspec
import pytest

from fleetgauge.commands.events import fact
from fleetgauge.commands.pages import _Found, _PageSerializer

SOUND = {
    "event": {"id": "e-1", "action": "responded"},
    "device": {"id": "sc-1", "model": "m365-pro", "firmware": "2.4.1"},
    "timestamp": 1_763_700_000_900,
    "network": {"carrier": "skt", "sim": "8982000000000000001"},
    "command": {
        "id": "c-1",
        "type": "unlock",
        "attempt": 1,
        "requested_at": 1_763_700_000_000,
        "deadline_at": 1_763_700_030_000,
    },
    "message": {"bytes": 96},
    "result": "failed",
    "error_code": "E_1",
}


def read(*sources: str) -> _Found:
    """An answer with these documents, and one that msgspec does not accept: half of a surrogate pair."""
    hits = [f'{{"_source": {one}, "sort": [0, {n}, 0]}}' for n, one in enumerate((*sources, r'{"a": "\ud800"}'))]
    text = f'{{"pit_id": "p", "hits": {{"hits": [{", ".join(hits)}]}}}}'
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(text, type=_Found)
    found = _PageSerializer().loads(text.encode())
    assert isinstance(found, _Found)
    return found


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 5000, "-" + "9" * 5000, "9" * 400 + ".5", "-0.0", "12"])
def test_a_number_beyond_pythons_in_a_field_nobody_needs_spoils_no_document(number: str) -> None:
    text = json.dumps(SOUND)
    odd = text.replace('"sc-1"', f'"sc-1", "extra": [{number}]')
    first, second, _ = read(odd, text).hits.hits
    assert fact(first._source) == fact(second._source) == fact(text.encode())


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 5000, "96.0", "-1", "2147483648"])
def test_a_wrong_number_in_a_needed_field_is_wrong_either_way(number: str) -> None:
    text = json.dumps(SOUND).replace('"bytes": 96', f'"bytes": {number}')
    for source in (text.encode(), read(text).hits.hits[0]._source):
        with pytest.raises(ValueError, match=r"\$\.message\.bytes"):
            fact(source)
