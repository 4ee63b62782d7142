"""A point in time is opened over what is refreshed, or not at all."""

from typing import Any

import pytest

from fleetgauge.elasticsearch.point_in_time import open_point
from fleetgauge.errors import Conflict


class Cluster:
    """Answers as a client does; `failed` shards are not refreshed."""

    def __init__(self, failed: int) -> None:
        self.failed = failed
        self.indices = self
        self.opened: list[dict[str, Any]] = []

    def search(self, **_: Any) -> dict[str, Any]:
        return {"hits": {}}

    def refresh(self, **_: Any) -> dict[str, Any]:
        return {"_shards": {"total": 3, "failed": self.failed}}

    def open_point_in_time(self, **asked: Any) -> dict[str, Any]:
        self.opened.append(asked)
        return {"id": "p"}


def test_it_is_opened_over_what_is_refreshed() -> None:
    cluster = Cluster(0)
    assert open_point(cluster, "events") == "p"  # type: ignore[arg-type]
    assert [one["index"] for one in cluster.opened] == ["events"]


def test_a_shard_that_was_not_refreshed_might_hide_events() -> None:
    cluster = Cluster(2)
    with pytest.raises(Conflict, match=r"2 shard\(s\) of events were not refreshed"):
        open_point(cluster, "events")  # type: ignore[arg-type]
    assert cluster.opened == []
