"""Events of commands for tests, and a brute-force answer to what folding them must give."""

import json
from collections.abc import Generator, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from fleetgauge.commands.pages import Page
from fleetgauge.commands.status import command_status, is_late_success
from fleetgauge.commands.store import FoldSource
from fleetgauge.progress.cursor import Offsets
from fleetgauge.progress.offsets import GroupProgress, PartitionProgress

SOURCE = FoldSource("commands", "group", "commands")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
START_MS = 1_763_700_000_000
STEPS = ("requested", "sent", "delivered", "responded")
COLUMNS = (
    "command_id, attempt, described_by, command_type, device_id, vehicle_model, firmware, carrier, sim, "
    "requested_at, deadline_at, sent_at, delivered_at, responded_at, result, error_code, "
    "sent_bytes, delivered_bytes, responded_bytes, status, late_success, is_last"
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
) -> Document:
    found: Document = {
        "kind": "command_response" if step == "responded" else "command",
        "version": 1,
        "event": {"id": f"{command_id}.{attempt}.{step}", "action": step, "dataset": "device.command"},
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


def expected_rows(documents: Iterable[Document], as_of: datetime) -> set[tuple[Any, ...]]:
    """What the table must hold, straight from the definition: group, take the earliest of each step, judge."""
    groups: dict[tuple[str, int], list[Document]] = {}
    for one in documents:
        groups.setdefault((one["command"]["id"], one["command"]["attempt"]), []).append(one)
    rows = set()
    for (command_id, attempt), events in groups.items():
        first = min(events, key=_description)
        sent, delivered, responded = (_earliest(events, step) for step in STEPS[1:])
        deadline = instant(first["command"]["deadline_at"])
        times = [instant(one["timestamp"]) if one else None for one in (sent, delivered, responded)]
        result = responded["result"] if responded else None
        rows.add(
            (
                command_id,
                attempt,
                1 + STEPS.index(first["event"]["action"]),
                first["command"]["type"],
                first["device"]["id"],
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
                attempt == max(a for c, a in groups if c == command_id),
            )
        )
    return rows


def _description(one: Document) -> tuple[Any, ...]:
    command, device, network = one["command"], one["device"], one["network"]
    rank = STEPS.index(one["event"]["action"])
    times = command["requested_at"], command["deadline_at"]
    names = command["type"], device["id"], device["model"], device["firmware"], network["carrier"], network["sim"]
    return rank, *times, *names


def _earliest(events: list[Document], step: str) -> Document | None:
    def order(one: Document) -> tuple[Any, ...]:
        code = one.get("error_code")
        return one["timestamp"], one.get("result", ""), code is None, code or "", one["message"]["bytes"]

    return min((one for one in events if one["event"]["action"] == step), key=order, default=None)


class ListedDocuments:
    """Documents by partition, the position in a list being the offset: Elasticsearch without the server, for faults."""

    def __init__(self, partitions: Mapping[int, list[Document]], *, page: int = 3) -> None:
        self.partitions = partitions
        self.page = page
        self.fail_before_page: int | None = None
        self.failure: Exception = RuntimeError("injected")

    def pages(self, index: str, spans: Mapping[int, Offsets] | None) -> Generator[Page]:
        chosen = [
            (partition, offset, one)
            for partition, documents in sorted(self.partitions.items())
            for offset, one in enumerate(documents)
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
