"""What a change would save: within 2 % of simulating the company once more with the change."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from fleetgauge.cost import whatif
from fleetgauge.cost.charges import Messages, cost
from fleetgauge.cost.tariff import Tariff, load_tariffs
from fleetgauge.cost.whatif import Estimate, Usage, estimate
from fleetgauge.errors import Terminal
from fleetlab.simulator import commands, world
from fleetlab.simulator.records import VALID, Record
from fleetlab.simulator.scale import Scale
from fleetlab.simulator.timeline import Timeline

TARIFFS = load_tariffs(Path(__file__).parents[3])
START = datetime(2026, 11, 20, 15, tzinfo=UTC)  # midnight in Seoul, after the tariffs' last change
SCALE = Scale(vehicles=500, days=1, rate=4, live_seconds=0)
SEOUL = ZoneInfo("Asia/Seoul")


def book() -> list[Record]:
    """Every message that the company sends, once."""
    timeline = Timeline(SCALE, START)
    known: set[tuple[str, str]] = set()
    found = []
    for part in timeline.backlog():
        for record in part:
            if record.fault == VALID and record.direction and (record.device, record.event_id) not in known:
                known.add((record.device, record.event_id))
                found.append(record)
    return found


@pytest.fixture(scope="module")
def messages() -> list[Record]:
    return book()


def usage_of(records: Iterable[Record]) -> list[Usage]:
    """As the views tell it: tallies by day, subject, carrier and direction."""
    tallies: dict[tuple[date, str, str, str], Counter[int]] = defaultdict(Counter)
    further: Counter[tuple[date, str, str, str]] = Counter()
    for one in records:
        day = datetime.fromtimestamp(one.event_ms / 1000, SEOUL).date()
        key = (day, one.subject, one.carrier, one.direction)
        tallies[key][one.nbytes] += 1
        further[key] += one.action == "sent" and one.attempt is not None and one.attempt.number > 1
    return [
        Usage(*key, {size: Fraction(n) for size, n in sizes.items()}, retries=further[key])
        for key, sizes in tallies.items()
    ]


def billed(records: Iterable[Record], tariffs: Iterable[Tariff] = TARIFFS) -> Decimal:
    """Message by message."""
    counted = Counter((one.carrier, one.nbytes) for one in records)
    return cost([Messages(START, carrier, size, n) for (carrier, size), n in counted.items()], tariffs).amount


def cents(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)


def asked(records: list[Record], *changes: whatif.Change, tariffs: list[Tariff] | None = None) -> Estimate:
    found = estimate(usage_of(records), TARIFFS, START, changes, tariffs)
    assert found.before == cents(billed(records))
    return found


def near(found: Estimate, simulated: Decimal) -> None:
    assert found.after == pytest.approx(simulated, rel=Decimal("0.02"))
    assert abs(found.before - simulated) > found.before * Decimal("0.02"), "the change changes too little to tell"


def test_smaller_answers(messages: list[Record], monkeypatch: pytest.MonkeyPatch) -> None:
    known = commands.TYPES["locate"]
    found = asked(messages, whatif.payload("locate", "uplink", None, Fraction(1, 4)))
    monkeypatch.setitem(commands.TYPES, "locate", replace(known, up=tuple(size // 4 for size in known.up)))
    near(found, billed(book()))


def test_answers_up_to_a_limit(messages: list[Record]) -> None:
    found = asked(messages, whatif.payload("locate", "uplink", 1_024, None))
    clipped = [
        one._replace(nbytes=min(one.nbytes, 1_024)) if (one.subject, one.direction) == ("locate", "uplink") else one
        for one in messages
    ]
    assert found.after == cents(billed(clipped))


def test_a_command_sent_less_often(messages: list[Record]) -> None:
    found = asked(messages, whatif.rate("locate", Fraction(1, 2)))
    ids = sorted({one.attempt.command_id for one in messages if one.attempt and one.subject == "locate"})
    dropped = set(ids[::2])
    near(found, billed(one for one in messages if one.attempt is None or one.attempt.command_id not in dropped))


def reports(messages: list[Record]) -> dict[str, list[Record]]:
    by_device: dict[str, list[Record]] = defaultdict(list)
    for one in messages:
        if one.subject == "location":
            by_device[one.device].append(one)
    return by_device


def test_a_longer_reporting_interval(messages: list[Record]) -> None:
    found = asked(messages, whatif.rate("location", Fraction(1, 3)))
    kept = [one for one in messages if one.subject != "location"]
    near(found, billed(kept + [one for known in reports(messages).values() for one in known[::3]]))


def test_reports_in_batches(messages: list[Record]) -> None:
    found = asked(messages, whatif.batch("location", 4))
    sent = [one for one in messages if one.subject != "location"]
    for known in reports(messages).values():
        for at in range(0, len(known), 4):
            some = known[at : at + 4]
            sent.append(some[0]._replace(nbytes=sum(one.nbytes for one in some)))
    near(found, billed(sent))


def test_fewer_tries(messages: list[Record], monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(messages, whatif.retries("unlock", Fraction(0)))
    saved = [
        one
        for one in messages
        if one.subject == "unlock" and one.action == "sent" and one.attempt is not None and one.attempt.number > 1
    ]
    assert found.before - found.after == pytest.approx(billed(saved), rel=Decimal("0.1"))
    monkeypatch.setitem(commands.TYPES, "unlock", replace(commands.TYPES["unlock"], attempts=1))
    assert found.after == pytest.approx(billed(book()), rel=Decimal("0.02"))


def test_another_split_of_carriers(messages: list[Record], monkeypatch: pytest.MonkeyPatch) -> None:
    shares = {"skt": Fraction(1, 10), "kt": Fraction(1, 10), "lguplus": Fraction(8, 10)}
    found = asked(messages, whatif.split(shares))
    changed = tuple(replace(one, share=float(shares[one.code])) for one in world.CARRIERS)
    monkeypatch.setattr(world, "CARRIERS", changed)
    near(found, billed(book()))


def test_another_tariff(messages: list[Record]) -> None:
    cheaper = [one.model_copy(update={"step_bytes": 2 * one.step_bytes}) for one in TARIFFS]
    found = asked(messages, tariffs=cheaper)
    assert found.after == cents(billed(messages, cheaper))
    assert found.messages == len(messages)
    assert found.unpriced_messages == sum(one.carrier == "freetel" for one in messages) > 0


# Ranges and what is said


MONDAY = date(2026, 11, 2)


def days(*counts: int, subject: str = "ring") -> list[Usage]:
    return [
        Usage(MONDAY + timedelta(days=n), subject, "skt", "downlink", {48: Fraction(count)})
        for n, count in enumerate(counts)
    ]


def test_the_range_is_that_of_the_weeks() -> None:
    found = estimate(days(*[100] * 7, *[300] * 7, 50), TARIFFS, START, [whatif.rate("ring", Fraction(1, 2))])
    assert found.varied_by == "week"
    assert (found.saving.low, found.saving.high) == (Decimal("4562.50"), Decimal("13687.50"))  # of 36,500 and 109,500
    assert found.saving.expected == round(Decimal(2_850) / 15 * 365 / 2 * Decimal("0.25"), 2)
    assert any("2026-11-02 to 2026-11-16: 15 days" in said for said in found.assumptions)


def test_of_less_than_two_weeks_the_range_is_that_of_the_days() -> None:
    found = estimate(days(100, 200), TARIFFS, START, [whatif.rate("ring", Fraction(0))])
    assert (found.varied_by, found.saving.low, found.saving.high) == ("day", Decimal("9125.00"), Decimal("18250.00"))


def test_what_cannot_be_told_is_refused() -> None:
    with pytest.raises(Terminal, match="no traffic of rnig"):
        estimate(days(1), TARIFFS, START, [whatif.rate("rnig", Fraction(0))])
    with pytest.raises(Terminal, match="there is no traffic"):
        estimate([], TARIFFS, START, [])
    with pytest.raises(Terminal, match="make it 100 %"):
        whatif.split({"skt": Fraction(1, 2)})
    by_sim = [TARIFFS[0].model_copy(update={"rounding": "sim_day"})]
    with pytest.raises(Terminal, match="by SIM"):
        estimate(days(1), TARIFFS, START, [], by_sim)


def test_what_has_no_price_is_counted_beside() -> None:
    rows = [*days(10), replace(days(3)[0], carrier="freetel"), replace(days(0)[0], direction="uplink", unsized=2)]
    by_sim = [one.model_copy(update={"rounding": "sim_day"}) if one.carrier == "kt" else one for one in TARIFFS]
    found = estimate([*rows, replace(days(5)[0], carrier="kt")], by_sim, START, [])
    assert (found.messages, found.unpriced_messages, found.by_sim_messages) == (20, 5, 5)
    assert found.before == found.after == Decimal("2.50")
