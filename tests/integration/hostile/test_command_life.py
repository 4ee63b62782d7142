"""The life of a command: late successes of earlier attempts, what is taken back, conflicts, retention, rebuilding."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from command_weather import Weather, noon, same_at_every_grain
from command_world import COLUMNS, document, expected_rows
from fault_table import fault
from prometheus_client import CollectorRegistry, generate_latest

from fleetgauge import command_attempts, diagnosis
from fleetgauge.commands import health, month_partitions, rebuild
from fleetgauge.commands.health import CommandsCollector
from fleetgauge.settings import KafkaSettings

MINUTE = timedelta(minutes=1)


def at(begin: datetime, seconds: float) -> int:
    return int((begin + timedelta(seconds=seconds)).timestamp() * 1000)


def attempt(number: int, answer_s: float | None, begin: datetime, result: str = "succeeded", **changes: Any) -> list:
    """An attempt with a minute's time of its own; the answer's second counts from the command's request."""
    starts = 60.0 * (number - 1)
    shape = {"attempt": number, "requested_ms": at(begin, 0), "deadline_ms": at(begin, starts + 60), **changes}
    found = [document("requested", at(begin, starts), **shape), document("sent", at(begin, starts + 0.1), **shape)]
    if answer_s is not None:
        found.append(document("responded", at(begin, answer_s), result=result, **shape))
    return found


def samples(weather: Weather) -> Mapping[str, float]:
    registry = CollectorRegistry()
    registry.register(CommandsCollector(weather.settings))
    lines = generate_latest(registry).decode().splitlines()
    return {name: float(value) for name, value in (line.split() for line in lines if not line.startswith("#"))}


def doctor(weather: Weather) -> list[str]:
    """What it says of commands. No broker is there: a missing file is told at once, an address is tried for long."""
    nowhere = KafkaSettings(security_protocol="SSL", ca_file=Path("/no/such/file"))
    settings = weather.settings.model_copy(update={"kafka": nowhere})
    found = [one for one in diagnosis.examine(settings) if one.about == "commands"]
    return [f"{one.status} {one.said}" for one in found]


@fault(
    "An attempt succeeds after its deadline, while the next one is under way, which then fails",
    number="the command failed, and is a late success; both attempts are unsuccessful",
    freshness="ok",
    doctor="ok",
    exporter="ok",
    exit_code="0",
)
def test_a_late_success_of_an_earlier_attempt_counts_as_such(weather: Weather) -> None:
    begin = noon()
    weather.run(attempt(1, None, begin), attempt(2, 70, begin, "rejected"))
    columns = "requested, rejected, late_success, attempts_known, attempts_unsuccessful, attempt_failure_rate"
    same_at_every_grain(weather.rows(columns, "device_command"), [(1, 1, 0, 2, 2, 1.0)])
    weather.run(attempt(1, 65, begin)[2:])  # it comes last of all
    same_at_every_grain(weather.rows(columns, "device_command"), [(1, 1, 1, 2, 2, 1.0)])


def test_an_attempt_that_is_followed_by_a_success_failed_by_itself(weather: Weather) -> None:
    begin = noon()
    weather.run(attempt(1, None, begin), attempt(2, 61, begin))
    columns = "requested, succeeded, late_success, attempts_known, attempts_unsuccessful, attempt_failure_rate"
    same_at_every_grain(weather.rows(columns, "device_command"), [(1, 1, 0, 2, 1, 0.5)])


@fault(
    "A device answers with success, and takes it back later (an update that is rolled back)",
    number="the first answer in time decides: it succeeded; `rolled_back` counts it beside",
    freshness="ok",
    doctor="warns of attempts whose events disagree",
    exporter="fleetgauge_commands_conflicting",
    exit_code="0",
)
def test_a_success_that_is_taken_back_is_counted_beside(weather: Weather) -> None:
    begin = noon()
    answers = attempt(1, 5, begin), attempt(1, 20, begin, "failed", event_id="rolled-back")[2:]
    weather.run(*answers)
    columns = "requested, succeeded, failed, rolled_back, conflicting"
    same_at_every_grain(weather.rows(columns, "device_command"), [(1, 1, 0, 1, 1)])
    assert samples(weather)["fleetgauge_commands_conflicting"] == 1
    assert any(line.startswith("warn 1 × attempts whose events disagree") for line in doctor(weather))


def test_what_is_as_it_should_be_is_told_as_such(weather: Weather) -> None:
    weather.run(attempt(1, 5, noon()))
    assert doctor(weather) == ["ok no event of a command disagrees with another, and none is missing"]
    assert set(samples(weather).values()) == {0}


def test_a_document_that_is_no_command_event_is_counted_for_good(weather: Weather) -> None:
    begin = noon()
    weather.run([{"event": {"action": "sent"}}, *attempt(1, 5, begin)])
    weather.run([])
    assert samples(weather)["fleetgauge_commands_unusable_total"] == 1
    assert doctor(weather)[0].startswith("warn 1 × documents left out")


@fault(
    "An event of a command comes whose month retention has dropped",
    number="it is left out; the windows of that time are frozen as they are",
    freshness="ok",
    doctor="warns of events left out",
    exporter="fleetgauge_commands_expired_total",
    exit_code="0",
)
def test_months_are_dropped_as_a_whole_and_do_not_come_back_in_part(weather: Weather) -> None:
    begin = noon()
    old = begin - timedelta(days=500)
    weather.run(attempt(1, 5, old, command_id="old"), attempt(1, 5, begin, command_id="new"))
    would = command_attempts.drop_command_months(weather.settings, dry_run=True)
    assert would.months == (f"{old:%Y%m}",)
    assert command_attempts.drop_command_months(weather.settings) == would
    assert command_attempts.drop_command_months(weather.settings) == replace(would, months=())
    held = "SELECT command_id FROM fleetgauge.command_attempt"
    assert weather.owner.execute(held).fetchall() == [("new",)]
    report = weather.run([document("delivered", at(old, 1), command_id="old", requested_ms=at(old, 0))])
    assert report.expired == 1
    assert weather.owner.execute(held).fetchall() == [("new",)]
    assert samples(weather)["fleetgauge_commands_expired_total"] == 1


def test_nothing_is_dropped_while_a_metric_keeps_everything(weather: Weather) -> None:
    weather.run(attempt(1, 5, noon() - timedelta(days=500)))
    assert month_partitions.drop_before(weather.owner, None) == month_partitions.Expired(None)


@pytest.mark.parametrize("from_empty", [False, True])
def test_a_rebuild_gives_the_same_and_goes_on_where_it_was_broken_off(weather: Weather, from_empty: bool) -> None:
    begin = noon()
    weather.run(*(attempt(1, 5, begin, command_id=f"c-{n}") for n in range(700)))  # three pages
    before = weather.rows("requested, succeeded", "device_command")
    with weather.owner.transaction():
        rebuild.request(weather.owner, from_empty=from_empty)
    listed = weather.documents({0: weather.come}, page=1000)
    listed.fail_before_page, listed.failure = 2, KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        weather.materialise(documents=listed)
    assert samples(weather)["fleetgauge_commands_rescanning"] == 1
    (found,) = rebuild.progress(weather.owner)
    assert (found.rescan, found.partition, found.offset) == (True, 0, 1999)
    report = weather.run([])
    assert report.restarted and report.events == 2100 - 1999
    found = set(weather.owner.execute(f"SELECT {COLUMNS} FROM fleetgauge.command_attempt").fetchall())
    assert found == expected_rows(weather.come, datetime.now(UTC))
    assert weather.rows("requested, succeeded", "device_command") == before
    assert not rebuild.progress(weather.owner)[0].rescan


def test_health_is_read_from_small_indexes(weather: Weather) -> None:
    """An exporter asks at every scrape."""
    weather.run(attempt(1, 5, noon()))
    weather.owner.execute("SET enable_seqscan = off")
    plans: list[str] = []

    class Explaining:
        def execute(self, query: str) -> Any:
            plans.append("\n".join(line for (line,) in weather.owner.execute(f"EXPLAIN {query}")))
            return weather.owner.execute(query)

    assert health.read(Explaining()).conflicting == 0  # type: ignore[arg-type]
    assert plans and not re.search(r"Seq Scan on command_(event|attempt)", "\n".join(plans))
