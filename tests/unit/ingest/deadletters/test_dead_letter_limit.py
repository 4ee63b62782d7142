"""The limit: counted by offsets, kept with the commits, by what a consumer names, lifted by an operator."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetgauge.elasticsearch.answers import Class
from fleetgauge.errors import Stop
from fleetgauge.ingest.check.batch import Batch
from fleetgauge.ingest.check.decode import Decoder
from fleetgauge.ingest.consumer import DeadLetterLimit
from fleetgauge.ingest.deadletters.acceptance import Acceptance, Decided
from fleetgauge.ingest.deadletters.limit import DeadLetterGuard
from fleetgauge.ingest.deadletters.limit_counter import UNREADABLE, VALUES, Halt, LimitCounter
from fleetgauge.ingest.deadletters.payload_value import reader
from fleetgauge.kafka.records import Records
from fleetgauge.progress.commit_note import CommitNote

TOPIC = "device-events"
SOON_MS = int(time.time() * 1000) + 3_600_000


class Accepted:
    """Acceptances of one partition."""

    def __init__(self, *acceptances: Acceptance, halts: Mapping[int, Halt] | None = None) -> None:
        self.decided = Decided({0: acceptances}, halts or {})

    def read(self) -> Decided:
        return self.decided


@pytest.fixture
def stream(decoder: Decoder, world: Any) -> Callable[..., list[Batch]]:
    """Batches of these sizes out of a text: `g` a good record, `x` one that is not JSON, any other letter a broken
    record of that model."""

    def make(text: str, *sizes: int, first: int = 0) -> list[Batch]:
        records = []
        for offset, sign in enumerate(text, first):
            if sign == "g":
                value: Any = world.tip_over(offset)
            elif sign == "x":
                value = b"broken"
            else:
                value = world.tip_over(offset, timestamp=5, device={"id": "sc-1", "model": sign, "firmware": "1"})
            records.append(world.record(value, offset))
        batches = []
        for size in sizes or (len(text),):
            batch = Batch(0.0)
            decoder.add(batch, Records.of(records[:size]))
            del records[:size]
            batches.append(batch)
        assert not records
        return batches

    return make


def kept(guard: DeadLetterGuard, batches: Sequence[Batch]) -> tuple[list[tuple[int, Class]], str]:
    """What would be dead-lettered (offset, class), and the message if the limit stopped it."""
    found: list[tuple[int, Class]] = []
    for batch in batches:
        guard.expect(batch)
    for batch in batches:
        try:
            assert guard.admit(batch)
        except Stop as error:
            return found, str(error)
        found += [(dead_letter.record.offset, dead_letter.kind) for dead_letter in batch.poison]
    return found, ""


def noted(guard: DeadLetterGuard, batch: Batch | None) -> dict[str, Any]:
    """The note of a commit of all of a batch, as Kafka gives it back."""
    note = str(CommitNote("r", "", guard.note(TOPIC, 0, None if batch is None else batch.spans[-1])))
    assert len(note) < 4_000
    return CommitNote.parse(note).dead_letters


def test_a_clean_batch_that_crosses_the_minimum_names_the_last_broken_record(stream: Any) -> None:
    guard = DeadLetterGuard("c", DeadLetterLimit(consecutive=100, ratio=0.1, minimum=20))
    found, said = kept(guard, stream("ggxxgg" + "g" * 20 + "x", 6, 20, 1))
    assert [offset for offset, _ in found] == [2, 3, 26] and not guard.halted()
    found, said = kept(
        DeadLetterGuard("c", DeadLetterLimit(ratio=0.1, minimum=20)), stream("ggxxxgg" + "g" * 20 + "x", 7, 20, 1)
    )
    assert [offset for offset, _ in found] == [
        2,
        3,
        4,
    ]  # the share is told when it is looked at, at the next broken one
    assert "3 of the last 20 records are broken" in said and "the last was not_json" in said


def test_in_a_row_means_in_the_order_of_offsets(stream: Any) -> None:
    first, second, third = stream("gxxxx" + "xxgx" + "xxxg", 5, 4, 4)
    guard = DeadLetterGuard("c", DeadLetterLimit(consecutive=5))
    for batch in (first, second, third):
        guard.expect(batch)
    told: list[Any] = []

    def late() -> None:
        try:
            told.append(guard.admit(second))
        except Stop as error:
            told.append(str(error))

    thread = threading.Thread(target=late)
    thread.start()  # it is ready before the batch that comes before it
    with pytest.raises(Stop, match="5 records in a row"):  # though it comes before: nothing more is dead-lettered
        guard.admit(first)
    thread.join(10)
    assert "5 records in a row are broken" in told[0]


def test_a_batch_that_waits_for_one_before_it_can_be_given_up(stream: Any) -> None:
    first, second = stream("gx", 1, 1)
    guard = DeadLetterGuard("c", DeadLetterLimit())
    guard.expect(first)
    guard.expect(second)
    threading.Timer(0.1, second.cancel).start()
    assert not guard.admit(second)
    assert guard.admit(first)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_batches_and_restarts_change_nothing(stream: Any, data: st.DataObject) -> None:
    """The very same records go to the dead letters, whatever is cut where, and however often it is started again."""
    text = data.draw(st.text("gggggxmn", min_size=1, max_size=120))
    limit = DeadLetterLimit(
        consecutive=data.draw(st.integers(2, 9)),
        ratio=data.draw(st.sampled_from([0.1, 0.3])),
        minimum=data.draw(st.sampled_from([8, 20])),
        by=data.draw(st.sampled_from([None, "device.model"])),
    )
    whole, _ = kept(DeadLetterGuard("c", limit), stream(text, *[1] * len(text)))
    guard, at, found = DeadLetterGuard("c", limit), 0, []
    note: dict[str, Any] = {}
    halted = False
    while at < len(text):
        size = data.draw(st.integers(1, len(text) - at))
        (batch,) = stream(text[at : at + size], first=at)
        some, said = kept(guard, [batch])
        found += some
        if said and size == 1:
            assert guard.halted()
            halted = True
            break
        if said:  # dead: what was not committed comes again, in other pieces
            guard = DeadLetterGuard("c", limit)
            guard.restore(TOPIC, 0, note)
            continue
        at += size
        note = noted(guard, batch)
        if data.draw(st.booleans()):
            guard = DeadLetterGuard("c", limit)
            guard.restore(TOPIC, 0, note)
    assert found == whole
    if halted:
        for _ in range(3):
            after = DeadLetterGuard("c", limit)
            after.restore(TOPIC, 0, {**note, "halt": noted(guard, None)["halt"]})
            assert kept(after, stream("gggx", 3, 1, first=at))[0] == []


def test_a_restart_forgets_no_limit_that_was_reached(stream: Any) -> None:
    limit = DeadLetterLimit(consecutive=3)
    guard = DeadLetterGuard("c", limit)
    (batch,) = stream("gxxx")
    assert kept(guard, [batch])[0] == []
    note = noted(guard, None)
    for start in range(3):
        guard = DeadLetterGuard("c", limit)
        guard.restore(TOPIC, 0, note)
        found, said = kept(guard, stream("gg" + "g" * 3000 + "x", 1, 3001, 1, first=10 * start))
        assert found == [] and "3 records in a row are broken" in said
        note = noted(guard, None)


def test_a_limit_that_another_partition_has_reached_stops_all(stream: Any) -> None:
    halt = Halt("5-", "contract", "", "5 records in a row are broken")
    guard = DeadLetterGuard("c", DeadLetterLimit(), Accepted(halts={3: halt}))
    found, said = kept(guard, stream("ggx", 2, 1))
    assert found == [] and "5 records in a row are broken in device-events partition 3" in said
    accepted = Acceptance("a", "not_json", 5, SOON_MS)
    assert kept(DeadLetterGuard("c", DeadLetterLimit(), Accepted(accepted, halts={3: halt})), stream("ggx"))[1] == ""


def test_an_operator_accepts_so_many_of_one_reason(stream: Any) -> None:
    limit = DeadLetterLimit(consecutive=3)
    guard = DeadLetterGuard("c", limit)
    kept(guard, stream("xxx"))
    note = noted(guard, None)
    lifts = (LimitCounter.of(note).halt.id,)  # type: ignore[union-attr]

    def again(*acceptances: Acceptance) -> tuple[list[int], str]:
        guard = DeadLetterGuard("c", limit, Accepted(*acceptances))
        guard.restore(TOPIC, 0, note)
        found, said = kept(guard, stream("x" * 10, *[1] * 10))
        return [offset for offset, _ in found], said

    accepted = Acceptance("a", "not_json", 5, SOON_MS, lifts=lifts)
    assert again(replaced(accepted, reason="contract", lifts=()))[0] == []
    assert again(replaced(accepted, until_ms=5)) == ([0, 1], again(replaced(accepted, until_ms=5))[1])
    found, said = again(accepted)
    assert found == [0, 1, 2, 3, 4, 5, 6] and "3 records in a row" in said  # five, and the limit's own anew
    assert again(replaced(accepted, count=0))[0] == [0, 1]
    assert again(replaced(accepted, value="m"))[0] == [0, 1]  # of one value only: not of these
    assert again(replaced(accepted, count=100)) == (list(range(10)), "")


def replaced(acceptance: Acceptance, **changes: Any) -> Acceptance:
    return msgspec.structs.replace(acceptance, **changes)


def test_one_value_over_the_limit_is_quarantined_and_the_others_go_on(stream: Any) -> None:
    limit = DeadLetterLimit(consecutive=10, ratio=0.1, minimum=50, by="device.model")
    shown: dict[str, int] = {}
    guard = DeadLetterGuard("c", limit, tell=shown.__setitem__)
    text = "ggm" * 60 + "gxg" + "ggm" * 10
    batches = (
        stream(text, *[len(text) // 10] * 10, len(text) % 10)
        if len(text) % 10
        else stream(text, *[len(text) // 10] * 10)
    )
    found, said = kept(guard, batches)
    assert said == ""
    assert len(found) == text.count("m") + 1 and shown == {"m": 1}
    kinds = [kind for _, kind in found]
    first = kinds.index(Class.QUARANTINE)
    assert 10 < first < 20  # it began when a share of 0.1 of 50 records was looked at
    assert (
        kinds[first:].count(Class.POISON) == 1 and text[next(o for o, k in found[first:] if k is Class.POISON)] == "x"
    )
    note = noted(guard, batches[-1])
    again = DeadLetterGuard("c", limit, tell=shown.__setitem__)
    again.restore(TOPIC, 0, note)
    assert kept(again, stream("m", first=500)) == ([(500, Class.QUARANTINE)], "")
    lifts = tuple(quarantined.id for quarantined in LimitCounter.of(note).quarantined.values())
    accepted = DeadLetterGuard(
        "c", limit, Accepted(Acceptance("a", "contract", 10, SOON_MS, "m", lifts)), shown.__setitem__
    )
    shown.clear()
    accepted.restore(TOPIC, 0, note)
    assert kept(accepted, stream("m", first=500)) == ([(500, Class.POISON)], "") and shown == {}


def test_the_counter_of_an_older_version_is_read_and_its_names_on_the_wire_stay() -> None:
    note = {"seen": 7, "broken": {"m": 3}, "apart": {"m": ["5g0", 2]}, "halt": ["9-", "contract", "m", "in words"]}
    counter = LimitCounter.of(note)
    assert counter.quarantined["m"].count == 2 and counter.halt is not None
    assert msgspec.to_builtins(counter) == note


def test_a_row_of_one_model_after_good_ones_stops_nobody(stream: Any) -> None:
    limit = DeadLetterLimit(consecutive=10, minimum=1000, by="device.model")
    found, said = kept(DeadLetterGuard("c", limit), stream("g" * 50 + "m" * 40 + "g"))
    assert said == "" and [kind for _, kind in found] == [Class.POISON] * 9 + [Class.QUARANTINE] * 31


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mnopq" * 40, "broken, of 3 values of device.model"),  # a bad deploy: nothing is good
        ("x" * 40, "10 records in a row are broken"),  # nobody can say of which value
        ("g" * 20 + "gm" * 200, "100 broken records of m have been quarantined"),
        ("m" * 60, "50 of the last 50 records are broken, of 1 values"),
    ],
)
def test_a_quarantine_does_not_empty_a_topic_into_its_dead_letters(stream: Any, text: str, says: str) -> None:
    limit = DeadLetterLimit(consecutive=10, minimum=50, by="device.model", quarantine_at_most=100)
    found, said = kept(DeadLetterGuard("c", limit), stream(text, *[1] * len(text)))
    assert says in said and len(found) <= 100


def test_a_value_that_has_healed_is_no_longer_quarantined(stream: Any) -> None:
    limit = DeadLetterLimit(consecutive=5, minimum=50, by="device.model")
    shown: dict[str, int] = {}
    guard = DeadLetterGuard("c", limit, tell=shown.__setitem__)
    kept(guard, stream("g" * 30 + "m" * 6))
    assert shown == {"m": 1}
    kept(guard, stream("g" * 400, first=100))
    assert shown == {"m": 0}


def test_a_tally_fits_into_kafkas_note_whatever_the_values(world: Any, decoder: Decoder) -> None:
    guard = DeadLetterGuard("c", DeadLetterLimit(consecutive=10**6, by="device.model"))
    batch = Batch(0.0)
    models = ["m" * 45 + f"{number:03d}" for number in range(300)]
    values = [
        world.tip_over(i, timestamp=5, device={"id": "a", "model": m, "firmware": "1"}) for i, m in enumerate(models)
    ]
    decoder.add(batch, Records.of([world.record(value, offset) for offset, value in enumerate(values)]))
    assert guard.admit(batch)
    counter = LimitCounter.of(noted(guard, batch))
    assert len(counter.broken) == VALUES + 1 and sum(counter.broken.values()) == 300


def test_collisions_in_a_row_are_counted_as_a_share_only(stream: Any) -> None:
    (batch,) = stream("x" * 30)
    batch.poison = [replace(dead_letter, kind=Class.COLLISION, error_type="collision") for dead_letter in batch.poison]
    assert kept(DeadLetterGuard("c", DeadLetterLimit(consecutive=10)), [batch])[1] == ""
    (batch,) = stream("x" * 30 + "x")
    batch.poison = [replace(dead_letter, kind=Class.COLLISION, error_type="collision") for dead_letter in batch.poison]
    _, said = kept(DeadLetterGuard("c", DeadLetterLimit(consecutive=10, minimum=30)), [batch])
    assert "30 of the last 30 records are broken" in said and "collision" in said


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (b'{"device": {"model": "m365", "x": [1, {"a": 2}]}, "y": null}', "m365"),
        (b'{"device": {"model": 7}}', "7"),
        (b'{"device": {"model": null}}', UNREADABLE),
        (b'{"device": {"model": {"a": 1}}}', UNREADABLE),
        (b'{"device": {}}', UNREADABLE),
        (b'{"device": 5}', UNREADABLE),
        (b"[]", UNREADABLE),
        (b"not json", UNREADABLE),
        (b'{"device": {"model": "\xff"}}', UNREADABLE),
        (b'{"device": {"model": "a\\nb"}}', UNREADABLE),
        (b'{"device": {"model": "' + b"a" * 49 + b'"}}', UNREADABLE),
        (b'{"device": {"model": "\xed\x95\x9c"}}', UNREADABLE),
        (b'{"z": ' + b"[" * 100_000, UNREADABLE),
        (None, UNREADABLE),
        (b"", UNREADABLE),
    ],
)
def test_the_value_is_read_from_any_payload(payload: bytes | None, value: str) -> None:
    assert reader("device.model")(payload) == value
