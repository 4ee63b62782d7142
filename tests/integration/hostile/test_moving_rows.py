"""A row that moves leaves no shadow: earlier steps and clocks that come late, copies of events, ids used twice."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from command_weather import GRAINS, Builder, Weather, noon, same_at_every_grain
from command_world import STEPS, distinct_events, document, expected_rows, instant
from fault_table import fault
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

SEOUL = ZoneInfo("Asia/Seoul")


def ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def shape(begin: datetime, **changes: Any) -> dict[str, Any]:
    return {"requested_ms": ms(begin), "deadline_ms": ms(begin + timedelta(minutes=1)), **changes}


@fault(
    "`sent` names one firmware, `requested` of the same command, which comes a run later, another",
    number="the command counts once, under the attributes of its earliest step",
    freshness="ok",
    doctor="ok: firmware may change during a command",
    exporter="ok",
    exit_code="0",
)
def test_an_earlier_step_moves_the_command_to_its_own_firmware(weather: Weather) -> None:
    begin = noon()
    weather.run([document("sent", ms(begin) + 50, **shape(begin, firmware="2.5.0"))])
    same_at_every_grain(weather.rows("firmware, requested", "device_command"), [("2.5.0", 1)])
    weather.run([document("requested", ms(begin), **shape(begin, firmware="2.3.0"))])
    same_at_every_grain(weather.rows("firmware, requested", "device_command"), [("2.3.0", 1)])
    for grain in ("hour", "day"):
        found = weather.owner.execute(f"SELECT firmware, requested FROM metrics.device_command_by_firmware_{grain}")
        assert found.fetchall() == [("2.3.0", 1)]


def test_a_command_moves_to_another_window(weather: Weather) -> None:
    """Two producers do not agree when it was requested; the earliest step is believed."""
    begin = noon()
    later = begin + timedelta(hours=13)  # in the next day of Seoul
    weather.run([document("sent", ms(begin) + 50, **shape(later))])
    weather.run([document("requested", ms(begin), **shape(begin))])
    for grain in GRAINS:
        found = weather.owner.execute(f"SELECT window_start, requested FROM metrics.device_command_{grain}").fetchall()
        assert [n for _, n in found] == [1]
        assert found[0][0] <= begin < found[0][0] + timedelta(days=1)
    assert weather.owner.execute("SELECT count(*) FROM fleetgauge.command_attempt WHERE conflicting").fetchone() == (1,)


@fault(
    "An event is sent again with an earlier time, and stored twice",
    number="one message, at the earlier time",
    freshness="ok",
    doctor="warns of events whose copies disagree",
    exporter="fleetgauge_commands_disagreeing",
    exit_code="0",
)
def test_an_earlier_copy_moves_the_message(weather: Weather) -> None:
    begin = noon()
    weather.run([document("sent", ms(begin) + 90_000, **shape(begin), size=70)])
    weather.run([document("sent", ms(begin) + 30_000, **shape(begin), size=90)])
    same_at_every_grain(weather.rows("direction, messages, bytes", "traffic"), [("downlink", 1, 90)])
    found = weather.owner.execute("SELECT window_start FROM metrics.traffic_minute").fetchall()
    assert found == [(begin,)]


def test_a_copy_over_midnight_is_one_message(weather: Weather) -> None:
    midnight = noon().replace(hour=0)
    begin = midnight - timedelta(seconds=10)
    early = document("sent", ms(midnight) - 500, **shape(begin))
    again = document("sent", ms(midnight) + 500, **shape(begin))
    weather.run([again])
    weather.run([early])
    weather.run([again])
    same_at_every_grain(weather.rows("messages, payload", "traffic"), [(1, [96, 1])])
    disagreeing = "SELECT count(*) FROM fleetgauge.command_event WHERE disagrees"
    assert weather.owner.execute(disagreeing).fetchone() == (1,)


def test_two_messages_of_a_step_are_two_messages(weather: Weather) -> None:
    """A retransmission has an id of its own; when it is known first, the attempt's clock still becomes the earlier."""
    begin = noon()
    weather.run([document("sent", ms(begin) + 60_000, **shape(begin), event_id="again", size=70)])
    weather.run([document("sent", ms(begin) + 50, **shape(begin), event_id="first", size=90)])
    for grain in GRAINS:
        found = weather.owner.execute(f"SELECT sum(messages), sum(bytes)::bigint FROM metrics.traffic_{grain}")
        assert found.fetchall() == [(2, 160)]
    assert weather.owner.execute("SELECT sent_at, sent_bytes FROM fleetgauge.command_attempt").fetchall() == [
        (instant(ms(begin) + 50), 90)
    ]


@fault(
    "Two devices use the same command id",
    number="two commands: a command id is unique within its device",
    freshness="ok",
    doctor="ok",
    exporter="ok",
    exit_code="0",
)
def test_two_devices_may_use_the_same_command_id(weather: Weather) -> None:
    begin = noon()
    for device, firmware in (("sc-1", "1.0"), ("sc-2", "2.0")):
        one = document("requested", ms(begin), command_id="17", device=device, firmware=firmware, **shape(begin))
        weather.run([one])
    same_at_every_grain(weather.rows("firmware, requested", "device_command"), [("1.0", 1), ("2.0", 1)])


def test_an_event_id_that_a_device_uses_twice_is_counted_and_loses_nothing(weather: Weather) -> None:
    """Ids that begin anew after a reboot."""
    begin = noon()
    first = document("sent", ms(begin) + 50, command_id="17", event_id="1", **shape(begin))
    second = document("sent", ms(begin) + 60, command_id="18", event_id="1", **shape(begin))
    other = document("sent", ms(begin) + 70, command_id="18", event_id="1", device="sc-2", **shape(begin))
    assert weather.run([first]).reused_ids == 0
    assert weather.run([second, other]).reused_ids == 1
    assert weather.run([second]).reused_ids == 0  # read again
    same_at_every_grain(weather.rows("messages", "traffic"), [(3,)])
    counted = weather.owner.execute("SELECT reused_ids FROM fleetgauge.command_cursor").fetchone()
    assert counted == (1,)


BEGIN = noon()
moments = st.sampled_from([0, 400, 29_999, 59_000, 61_000, 3_600_000, 12 * 3_600_000])


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """One event of a small fleet, by one of two producers that do not agree on what a command is."""
    step = draw(st.sampled_from(STEPS))
    begin = BEGIN + timedelta(milliseconds=draw(st.sampled_from([0, 0, 0, 61_000, 13 * 3_600_000])))
    return document(
        step,
        ms(BEGIN) + draw(moments),
        command_id=draw(st.sampled_from(["17", "17", "18"])),
        device=draw(st.sampled_from(["sc-1", "sc-1", "sc-2"])),
        attempt=draw(st.sampled_from([1, 1, 2])),
        event_id=draw(st.sampled_from([None, None, "again", "1"])),
        requested_ms=ms(begin),
        deadline_ms=ms(BEGIN) + draw(st.sampled_from([30_000, 30_000, 120_000])),
        firmware=draw(st.sampled_from(["2.3.0", "2.3.0", "2.5.0"])),
        carrier=draw(st.sampled_from(["skt", "skt", "kt"])),
        command_type=draw(st.sampled_from(["unlock", "unlock", "locate"])),
        size=draw(st.sampled_from([96, 96, 64])),
        result=draw(st.sampled_from(["succeeded", "failed", "rejected"])),
    )


def window(at: datetime, grain: str) -> datetime:
    local = at.astimezone(SEOUL).replace(second=0, microsecond=0)
    if grain != "minute":
        local = local.replace(minute=0)
    return (local.replace(hour=0) if grain == "day" else local).astimezone(UTC)


def commands_by(rows: set[tuple[Any, ...]], grain: str) -> dict[tuple[Any, ...], tuple[int, ...]]:
    """`device_command` straight from the rows of `command_attempt`."""
    found: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0, 0])
    for row in rows:
        command_type, firmware, carrier, requested, status, is_last = row[3], row[6], row[7], row[9], row[19], row[21]
        cell = found[window(requested, grain), command_type, firmware, carrier]
        cell[0] += is_last
        cell[1] += is_last and status == "succeeded"
        cell[2] += is_last and status in ("failed", "rejected", "timed_out", "expired")
    return {key: tuple(cell) for key, cell in found.items()}


def traffic_by(documents: list[dict[str, Any]], rows: set[tuple[Any, ...]], grain: str) -> dict[tuple[Any, ...], Any]:
    """`traffic` straight from the documents: each event once, and a downlink for each attempt that lacks its own."""
    found: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0, 0])
    for one, _ in distinct_events(documents):
        step = one["event"]["action"]
        if step == "requested":
            continue
        direction = "downlink" if step == "sent" else "uplink"
        key = window(instant(one["timestamp"]), grain), one["command"]["type"], one["network"]["carrier"], direction
        found[key][0] += 1
        found[key][1] += one["message"]["bytes"]
    for row in rows:
        sent, delivered, responded = row[11:14]
        proofs = [at for at in (delivered, responded) if at is not None]
        if sent is None and proofs:
            cell = found[window(min(proofs), grain), row[3], row[7], "downlink"]
            cell[0] += 1
            cell[2] += 1
    return {key: tuple(cell) for key, cell in found.items()}


def check(weather: Weather) -> None:
    """Every grain = what the final documents give."""
    rows = expected_rows(weather.come, datetime.now(UTC))
    for grain in GRAINS:
        commands = weather.owner.execute(
            "SELECT window_start, command_type, firmware, carrier, requested, succeeded, unsuccessful"
            f" FROM metrics.device_command_{grain}"
        ).fetchall()
        assert {row[:4]: row[4:] for row in commands} == commands_by(rows, grain), grain
        traffic = weather.owner.execute(
            "SELECT window_start, command_type, carrier, direction, messages, bytes, payload_unknown"
            f" FROM metrics.traffic_{grain}"
        ).fetchall()
        assert {row[:4]: row[4:] for row in traffic} == traffic_by(weather.come, rows, grain), grain


LAW = settings(
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking on a real server takes minutes
    suppress_health_check=[HealthCheck.too_slow],
)
runs = st.lists(st.lists(events(), max_size=6), min_size=1, max_size=5)


def law(weathers: Builder, batches: list[list[dict[str, Any]]]) -> None:
    with weathers.weather() as weather:
        for batch in batches:
            weather.run(batch)
        weather.run(batches[0])  # dead letters that are replayed
        check(weather)


@settings(LAW, max_examples=5)
@given(runs)
def test_every_grain_is_what_the_final_events_give(weathers: Builder, batches: list[list[dict[str, Any]]]) -> None:
    law(weathers, batches)


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(LAW, max_examples=400)
@given(runs)
def test_every_grain_is_what_the_final_events_give_at_length(
    weathers: Builder, batches: list[list[dict[str, Any]]]
) -> None:
    law(weathers, batches)
