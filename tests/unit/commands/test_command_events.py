import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from fleetgauge.commands.columns import EVENT
from fleetgauge.commands.events import fact as fact_of
from fleetgauge.commands.events import postgres_microseconds

AT = 1_763_700_000_123
POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def fact(source) -> SimpleNamespace:
    names = (column.name for column in EVENT)
    return SimpleNamespace(**dict(zip(names, fact_of(json.dumps(source).encode()), strict=True)))


def document(action: str, **changes):
    return {
        "event": {"id": "e-1", "action": action},
        "device": {"id": "sc-00042", "model": "m365-pro", "firmware": "2.4.1"},
        "timestamp": AT,
        "network": {"carrier": "skt", "sim": "8982"},
        "command": {"id": "c-1", "type": "unlock", "attempt": 2, "requested_at": AT - 500, "deadline_at": AT + 500},
        **changes,
    }


def test_microseconds_are_those_of_a_timestamptz():
    moment = POSTGRES_EPOCH + timedelta(microseconds=postgres_microseconds(AT))
    assert moment == datetime.fromtimestamp(AT // 1000, UTC) + timedelta(milliseconds=AT % 1000)


def test_requested_is_no_message():
    stated = fact(document("requested"))
    assert (stated.step, stated.command_id, stated.attempt, stated.event_id) == (1, "c-1", 2, "e-1")
    assert stated.requested_at == postgres_microseconds(AT - 500)
    assert (stated.at, stated.bytes, stated.result) == (postgres_microseconds(AT), None, None)


@pytest.mark.parametrize(("action", "step"), [("sent", 2), ("delivered", 3)])
def test_a_step_has_its_own_time_and_size(action, step):
    stated = fact(document(action, message={"bytes": 96, "direction": "downlink"}, result="failed"))
    assert (stated.step, stated.at, stated.bytes) == (step, postgres_microseconds(AT), 96)
    assert (stated.result, stated.error_code) == (None, None)  # an answer's alone


def test_response():
    stated = fact(document("responded", message={"bytes": 64}, result="failed", error_code="E_LOCK"))
    assert (stated.step, stated.at, stated.bytes) == (4, postgres_microseconds(AT), 64)
    assert (stated.result, stated.error_code) == ("failed", "E_LOCK")


@pytest.mark.parametrize(
    "broken",
    [
        None,
        {},
        document("sent") | {"command": None},
        document("tipped_over"),
        document("responded"),
        document("sent") | {"timestamp": "soon"},
        document("sent", message={"bytes": -1}),
        document("sent", message={"bytes": 2**31}),
    ],
)
def test_what_is_no_command_event_is_refused(broken):
    with pytest.raises(ValueError):
        fact(broken)


@pytest.mark.parametrize("broken", [b"", b"{", rb'{"device": "\ud800"}', b'"\xff"'])
def test_what_is_not_json_is_refused(broken):
    with pytest.raises(ValueError):
        fact_of(broken)


def test_text_that_postgres_cannot_hold_is_replaced():
    stated = fact(document("requested", device={"id": "sc-1", "model": "a\x00b", "firmware": "2.4 한"}))
    assert (stated.vehicle_model, stated.firmware) == (r"a\u0000b", "2.4 한")
