"""Events of commands for tests, and a brute-force answer to what they must become."""

import json
from collections.abc import Collection, Generator, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from fleetgauge.commands.pages import Page
from fleetgauge.commands.status import command_status, is_late_success
from fleetgauge.commands.store import CommandSource
from fleetgauge.progress.cursor import Offsets
from fleetgauge.progress.offsets import GroupProgress, PartitionProgress

SOURCE = CommandSource("commands", "group", "commands")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
START_MS = 1_763_700_000_000
STEPS = ("requested", "sent", "delivered", "responded")
COLUMNS = (
    "command_id, attempt, described_by, command_type, device_id, vehicle_model, firmware, carrier, sim, "
    "requested_at, deadline_at, sent_at, delivered_at, responded_at, result, error_code, "
    "sent_bytes, delivered_bytes, responded_bytes, status, late_success, is_last, "
    "conflicting, rolled_back, any_late_success"
)

Document = dict[str, Any]


def instant(milliseconds: int) -> datetime:
    return EPOCH + timedelta(milliseconds=milliseconds)


def document(
    step: str,
    at_ms: int,
    *,
    command_id: str = "c-1",
    attempt: int = 1,
    requested_ms: int = START_MS,
    deadline_ms: int = START_MS + 30_000,
    command_type: str = "unlock",
    device: str = "sc-1",
    firmware: str = "2.4.1",
    carrier: str = "skt",
    size: int = 96,
    result: str = "succeeded",
    error_code: str | None = None,
    event_id: str | None = None,
) -> Document:
    found: Document = {
        "kind": "command_response" if step == "responded" else "command",
        "version": 1,
        "event": {"id": event_id or f"{command_id}.{attempt}.{step}", "action": step, "dataset": "device.command"},
        "device": {"id": device, "model": "m365-pro", "firmware": firmware},
        "timestamp": at_ms,
        "network": {"carrier": carrier, "sim": "8982000000000000001"},
        "command": {
            "id": command_id,
            "type": command_type,
            "attempt": attempt,
            "requested_at": requested_ms,
            "deadline_at": deadline_ms,
        },
    }
    if step != "requested":
        found["message"] = {"bytes": size, "direction": "downlink" if step == "sent" else "uplink"}
    if step == "responded":
        found["event"]["outcome"] = "success" if result == "succeeded" else "failure"
        found["result"] = result
        if error_code is not None:
            found["error_code"] = error_code
    return found


def distinct_events(documents: Iterable[Document]) -> list[tuple[Document, bool]]:
    """Each event once, by its earliest copy; whether its copies disagree."""
    copies: dict[tuple[Any, ...], list[Document]] = {}
    for one in documents:
        command = one["command"]
        key = one["device"]["id"], command["id"], command["attempt"], one["event"]["action"], one["event"]["id"]
        copies.setdefault(key, []).append(one)
    return [(min(found, key=_order), len({_order(one) for one in found}) > 1) for found in copies.values()]


def expected_rows(documents: Iterable[Document], as_of: datetime) -> set[tuple[Any, ...]]:
    """What `command_attempt` must hold, by its definition: group, take the earliest of each step, judge."""
    groups: dict[tuple[str, str, int], list[tuple[Document, bool]]] = {}
    for one, disagrees in distinct_events(documents):
        key = one["device"]["id"], one["command"]["id"], one["command"]["attempt"]
        groups.setdefault(key, []).append((one, disagrees))
    late = {key: _is_late_success([one for one, _ in events]) for key, events in groups.items()}
    rows = set()
    for (device, command_id, attempt), found in groups.items():
        events = [one for one, _ in found]
        first = min(events, key=lambda one: (STEPS.index(one["event"]["action"]), *_order(one), one["event"]["id"]))
        sent, delivered, responded = (_earliest(events, step) for step in STEPS[1:])
        deadline = instant(first["command"]["deadline_at"])
        times = [instant(one["timestamp"]) if one else None for one in (sent, delivered, responded)]
        result = responded["result"] if responded else None
        answers = {(one["result"], one.get("error_code")) for one in events if "result" in one}
        rows.add(
            (
                command_id,
                attempt,
                1 + STEPS.index(first["event"]["action"]),
                first["command"]["type"],
                device,
                first["device"]["model"],
                first["device"]["firmware"],
                first["network"]["carrier"],
                first["network"]["sim"],
                instant(first["command"]["requested_at"]),
                deadline,
                *times,
                result,
                responded.get("error_code") if responded else None,
                *(one["message"]["bytes"] if one else None for one in (sent, delivered, responded)),
                command_status(*times, result, deadline, as_of),
                is_late_success(times[2], result, deadline),
                attempt == max(a for d, c, a in groups if (d, c) == (device, command_id)),
                any(disagrees for _, disagrees in found) or len(set(map(_agreed, events))) > 1 or len(answers) > 1,
                result == "succeeded" and any(answer != "succeeded" for answer, _ in answers),
                any(one for (d, c, _), one in late.items() if (d, c) == (device, command_id)),
            )
        )
    return rows


def _is_late_success(events: list[Document]) -> bool:
    responded = _earliest(events, "responded")
    if responded is None:
        return False
    first = min(events, key=lambda one: (STEPS.index(one["event"]["action"]), *_order(one), one["event"]["id"]))
    at, deadline = instant(responded["timestamp"]), instant(first["command"]["deadline_at"])
    return is_late_success(at, responded["result"], deadline)


def _agreed(one: Document) -> tuple[Any, ...]:
    command = one["command"]
    times = command["requested_at"], command["deadline_at"]
    return *times, command["type"], one["device"]["model"], one["network"]["carrier"], one["network"]["sim"]


def _order(one: Document) -> tuple[Any, ...]:
    """Which of two events comes first: the earlier one, ties by value; what is not said comes last."""
    command, device, network = one["command"], one["device"], one["network"]
    names = command["type"], device["model"], device["firmware"], network["carrier"], network["sim"]
    own = one.get("result"), one.get("error_code"), one.get("message", {}).get("bytes")
    said = ((value is None, value or 0 if isinstance(value, int) else value or "") for value in own)
    return one["timestamp"], command["requested_at"], command["deadline_at"], *names, *said


def _earliest(events: list[Document], step: str) -> Document | None:
    some = (one for one in events if one["event"]["action"] == step)
    return min(some, key=lambda one: (*_order(one), one["event"]["id"]), default=None)


class ListedDocuments:
    """Documents by partition, the position in a list being the offset: Elasticsearch without the server, for faults."""

    def __init__(self, partitions: Mapping[int, list[Document]], *, page: int = 3) -> None:
        self.partitions = partitions
        self.page = page
        self.fail_before_page: int | None = None
        self.failure: Exception = RuntimeError("injected")

    def closed(self, index: str) -> list[str]:
        return []

    def documents(self, index: str) -> dict[str, int]:
        return {}

    def pages(
        self,
        index: str,
        spans: Mapping[int, Offsets] | None,
        *,
        after: tuple[int, int] | None = None,
        without: Collection[str] = (),
    ) -> Generator[Page]:
        chosen = [
            (partition, offset, one)
            for partition, documents in sorted(self.partitions.items())
            for offset, one in enumerate(documents)
            if after is None or (partition, offset) >= after
            if spans is None or (partition in spans and spans[partition].start <= offset < spans[partition].stop)
        ]
        for number, at in enumerate(range(0, len(chosen), self.page)):
            if number == self.fail_before_page:
                raise self.failure
            part = chosen[at : at + self.page]
            yield Page([json.dumps(one).encode() for _, _, one in part], part[-1][0], part[-1][1])


def progress_of(
    partitions: Mapping[int, list[Document]],
    watermark: datetime,
    *,
    committed: Mapping[int, int] | None = None,
    topic_id: str | None = "first",
) -> GroupProgress:
    """A group that has finished everything (or up to `committed`), looked at at `watermark`."""
    return GroupProgress(
        "commands",
        "group",
        topic_id,
        watermark,
        tuple(
            PartitionProgress(
                p, 0, len(documents), len(documents) if committed is None else committed.get(p), unfinished_at=None
            )
            for p, documents in sorted(partitions.items())
        ),
    )
