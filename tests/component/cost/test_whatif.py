"""What a change would save: within 2 % of simulating the company once more with the change, under every rounding."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from functools import cache, cached_property
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from fleetgauge.cost import whatif
from fleetgauge.cost.estimates import Estimate, SimStream, estimate
from fleetgauge.cost.tariff import Tariff, load_tariffs
from fleetgauge.cost.whatif import Usage
from fleetlab.simulator import commands, world
from fleetlab.simulator.bills import Sent, bill
from fleetlab.simulator.habits import Habits
from fleetlab.simulator.prices import Price
from fleetlab.simulator.records import VALID, Record
from fleetlab.simulator.scale import Scale
from fleetlab.simulator.timeline import Timeline
from fleetlab.simulator.unkind import Unkindness

TARIFFS = load_tariffs(Path(__file__).parents[3])
START = datetime(2026, 11, 20, 15, tzinfo=UTC)  # midnight in Seoul, after the tariffs' last change
SCALE = Scale(vehicles=200, days=1, rate=5, live_seconds=0, unkind=Unkindness(disagreeing_producers=False))
SEOUL = ZoneInfo("Asia/Seoul")
SCOPES = {
    "message": TARIFFS,
    "sim_day": [one.model_copy(update={"rounding": "sim_day", "step_bytes": 1_000}) for one in TARIFFS],
    "sim_month": [
        one.model_copy(
            update={"rounding": "sim_month", "step_bytes": 10_000, "allowance_bytes": 200_000, "base_fee": Decimal(100)}
        )
        for one in TARIFFS
    ],
}


@dataclass(frozen=True)
class Book:
    """Every message that the company sends on the day, once, and as the views tell of them."""

    records: list[Record]

    @cached_property
    def usage(self) -> list[Usage]:
        return usage_of(self.records)

    @cached_property
    def sims(self) -> list[SimStream]:
        return sims_of(self.records)


def book(habits: Habits | None = None) -> Book:
    """Simulates it."""
    timeline = Timeline(replace(SCALE, habits=habits or Habits()), START)
    sent = {
        (one.device, one.event_id): one
        for part in timeline.backlog()
        for one in part
        if one.fault == VALID and one.direction and day_of(one) == START.astimezone(SEOUL).date()
    }
    return Book(list(sent.values()))


@pytest.fixture(scope="module")
def messages() -> Book:
    return book()


@pytest.fixture(params=SCOPES)
def tariffs(request: pytest.FixtureRequest) -> Sequence[Tariff]:
    return SCOPES[request.param]


def day_of(one: Record) -> date:
    return day_of_hour(one.event_ms // 3_600_000)


@cache
def day_of_hour(hour: int) -> date:
    """Of an hour since the epoch; days of Seoul begin with one."""
    return datetime.fromtimestamp(hour * 3600, SEOUL).date()


def stream_of(one: Record) -> str:
    return "telemetry" if one.attempt is None else "commands"


def usage_of(records: Iterable[Record]) -> list[Usage]:
    """As the views tell it: tallies by day, subject, carrier and direction."""
    tallies: dict[tuple[date, str, str, str, str], Counter[int]] = defaultdict(Counter)
    further: dict[tuple[date, str, str, str, str], Counter[int]] = defaultdict(Counter)
    for one in records:
        key = (day_of(one), one.subject, one.carrier, one.direction, stream_of(one))
        tallies[key][one.nbytes] += 1
        if one.attempt is not None and one.attempt.number > 1:
            further[key][one.nbytes] += 1
    return [
        Usage(*key[:4], fractions(sizes), further=fractions(further[key]), stream=key[4])
        for key, sizes in tallies.items()
    ]


def fractions(sizes: Counter[int]) -> dict[int, Fraction]:
    return {size: Fraction(n) for size, n in sizes.items()}


def sims_of(records: Iterable[Record]) -> list[SimStream]:
    """As the views tell it; a device is its SIM."""
    counted: dict[tuple[date, str, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for one in records:
        cell = counted[day_of(one), one.device, one.carrier, stream_of(one)]
        cell[0] += 1
        cell[1] += one.nbytes
    return [SimStream(*key, *counts) for key, counts in counted.items()]


def billed(records: Iterable[Record], tariffs: Sequence[Tariff]) -> Decimal:
    """By the simulator's own books."""
    sent = (Sent(one.event_ms, one.device, one.carrier, one.subject, one.direction, one.nbytes) for one in records)
    return sum((one.cost for one in bill(sent, prices_of(tariffs), SEOUL).charges.values()), Decimal(0))


def prices_of(tariffs: Iterable[Tariff]) -> list[Price]:
    found = [
        Price(
            one.carrier,
            0,
            one.overhead_bytes,
            one.step_bytes,
            one.price,
            one.rounding,
            base_fee=one.base_fee,
            allowance=one.allowance_bytes,
            sims=one.sims,
        )
        for one in tariffs
        if one.valid_to is None
    ]
    return sorted(found, key=lambda one: one.carrier)


def cents(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)


def asked(
    of: Book, tariffs: Sequence[Tariff], *changes: whatif.Change, new_tariffs: Sequence[Tariff] | None = None
) -> Estimate:
    return estimate(of.usage, tariffs, START, changes, new_tariffs, of.sims)


def priced(of: Book, tariffs: Sequence[Tariff]) -> Decimal:
    return asked(of, tariffs).before


@pytest.mark.parametrize("scope", ["message", "sim_day"])  # a month is not billed by a day of it
def test_what_was_is_the_bill(messages: Book, scope: str) -> None:
    assert priced(messages, SCOPES[scope]) == cents(billed(messages.records, SCOPES[scope]))


def near(found: Estimate, simulated: Decimal) -> None:
    assert found.after == pytest.approx(simulated, rel=Decimal("0.02"))
    assert abs(found.before - simulated) > found.before * Decimal("0.02"), "the change changes too little to tell"


@pytest.fixture(scope="module")
def smaller() -> Book:
    known = commands.TYPES["locate"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(commands.TYPES, "locate", replace(known, up=tuple(size // 4 for size in known.up)))
        return book()


def test_smaller_answers(messages: Book, smaller: Book, tariffs: Sequence[Tariff]) -> None:
    found = asked(messages, tariffs, whatif.payload("locate", "uplink", None, Fraction(1, 4)))
    near(found, priced(smaller, tariffs))


def test_answers_up_to_a_limit(messages: Book) -> None:
    found = asked(messages, TARIFFS, whatif.payload("locate", "uplink", 1_024, None))
    clipped = [
        one._replace(nbytes=min(one.nbytes, 1_024)) if (one.subject, one.direction) == ("locate", "uplink") else one
        for one in messages.records
    ]
    assert found.after == cents(billed(clipped, TARIFFS))


def test_a_command_sent_less_often(messages: Book, tariffs: Sequence[Tariff]) -> None:
    found = asked(messages, tariffs, whatif.rate("locate", Fraction(1, 2)))
    asked_for = {
        (one.carrier, one.attempt.command_id) for one in messages.records if one.attempt and one.subject == "locate"
    }
    dropped = {identifier for _, identifier in sorted(asked_for)[::2]}
    kept = [one for one in messages.records if one.attempt is None or one.attempt.command_id not in dropped]
    near(found, priced(Book(kept), tariffs))


@pytest.fixture(scope="module")
def rarer() -> Book:
    return book(Habits(interval_ms=54_000))


def test_a_longer_reporting_interval(messages: Book, rarer: Book, tariffs: Sequence[Tariff]) -> None:
    """Three times the interval of riding vehicles; of what they report beside it nothing changes."""
    positions = [sum(one.subject == "location" for one in some.records) for some in (rarer, messages)]
    found = asked(messages, tariffs, whatif.rate("location", Fraction(*positions)))
    assert Fraction(*positions) < Fraction(45, 100)
    near(found, priced(rarer, tariffs))


@pytest.fixture(scope="module")
def batched() -> Book:
    return book(Habits(batch=4))


def test_reports_in_batches(messages: Book, batched: Book, tariffs: Sequence[Tariff]) -> None:
    near(asked(messages, tariffs, whatif.batch("location", 4)), priced(batched, tariffs))


@pytest.fixture(scope="module")
def once() -> Book:
    return book(Habits(tries=tuple((name, 1) for name in commands.TYPES)))


def test_fewer_tries(messages: Book, once: Book, tariffs: Sequence[Tariff]) -> None:
    """Every command is tried once; who stands before a locked scooter asks again, which the estimate leaves out."""
    names = [name for name, one in commands.TYPES.items() if one.attempts > 1]
    found = asked(messages, tariffs, *(whatif.retries(name, Fraction(0)) for name in names))
    simulated = priced(once, tariffs)
    assert found.after == pytest.approx(simulated, rel=Decimal("0.02"))
    assert found.before - found.after == pytest.approx(found.before - simulated, rel=Decimal("0.25"))


@pytest.fixture(scope="module")
def resplit() -> Book:
    shares = {"skt": 0.1, "kt": 0.1, "lguplus": 0.8}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world, "CARRIERS", tuple(replace(one, share=shares[one.code]) for one in world.CARRIERS))
        return book()


def test_another_split_of_carriers(messages: Book, resplit: Book, tariffs: Sequence[Tariff]) -> None:
    """Asked with the shares of the SIMs as they were drawn."""
    devices = Counter({one.device: one.carrier for one in resplit.records if one.carrier != "freetel"}.values())
    shares = {carrier: Fraction(n, devices.total()) for carrier, n in devices.items()}
    near(asked(messages, tariffs, whatif.split(shares)), priced(resplit, tariffs))


def test_another_tariff(messages: Book, tariffs: Sequence[Tariff]) -> None:
    """Among them from one rounding to another."""
    cheaper = [one.model_copy(update={"step_bytes": 2 * one.step_bytes}) for one in tariffs]
    for new in (cheaper, *SCOPES.values()):
        assert asked(messages, tariffs, new_tariffs=new).after == priced(messages, new)
    found = asked(messages, tariffs)
    assert found.messages == len(messages.records)
    assert found.unpriced_messages == sum(one.carrier == "freetel" for one in messages.records) > 0


def test_of_whole_months_the_cost_is_the_bill() -> None:
    """Two SIMs in February, of which one uses the pool of both up and the other is silent for long."""
    days = [date(2026, 2, 1) + timedelta(days=n) for n in range(28)]
    used = [SimStream(day, "a", "kt", "telemetry", 10, 7_000 + 311 * n) for n, day in enumerate(days)]
    used += [SimStream(days[9], "b", "kt", "commands", 3, 1_234)]
    usage = [
        Usage(
            one.date, one.stream, "kt", "uplink", {one.bytes // one.messages: Fraction(one.messages)}, stream=one.stream
        )
        for one in used
    ]
    sent = [
        Sent(int(datetime(2026, 2, one.date.day, 3, tzinfo=UTC).timestamp() * 1000), one.sim, "kt", "x", "uplink", size)
        for one in used
        for size in (one.bytes - one.messages + 1, *[1] * (one.messages - 1))
    ]
    for tariffs in SCOPES.values():
        if tariffs[0].rounding != "message":
            found = estimate(usage, tariffs, START, [], None, used)
            charged = bill(sent, prices_of(tariffs), SEOUL).charges.values()
            assert found.before == found.after == cents(sum((one.cost for one in charged), Decimal(0)))
