"""What the tests of the dashboards run on."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fleetgauge.commands.pages import Page
from fleetgauge.commands.store import CommandSource
from fleetgauge.progress.cursor import Offsets
from fleetgauge.progress.offsets import GroupProgress, PartitionProgress
from fleetlab.simulator import Timeline

SOURCE = CommandSource("device-commands", "dashboards", "device-commands")


@dataclass(frozen=True)
class Filled:
    """A filled metrics database."""

    grafana_url: str = field(repr=False)
    replica_url: str = field(repr=False)
    """Production's replica, as its reader."""
    now: datetime
    """Where the company's history ends: some rides are under way then."""


class Documents:
    """The company's command events as if read from Elasticsearch; that path is tested elsewhere."""

    def __init__(self, plan: Timeline) -> None:
        self.partitions: dict[int, list[bytes]] = {}
        for records in plan.backlog():
            for one in records:
                if one.topic == SOURCE.topic and not one.fault and one.value is not None:
                    self.partitions.setdefault(one.partition, []).append(one.value)

    def closed(self, index: str) -> list[str]:
        return []

    def pages(self, index: str, spans: Mapping[int, Offsets] | None, **_: Any) -> Generator[Page]:
        for partition, found in sorted(self.partitions.items()):
            yield Page(found, partition, len(found) - 1)

    def progress(self, now: datetime) -> GroupProgress:
        done = tuple(PartitionProgress(p, 0, len(f), len(f), None) for p, f in sorted(self.partitions.items()))
        return GroupProgress(SOURCE.topic, SOURCE.group, "dashboards", now, done)
