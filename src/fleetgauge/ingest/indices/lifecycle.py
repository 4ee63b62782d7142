"""Retention by the cluster itself, where it has index lifecycle management (ILM)."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec

from fleetgauge.elasticsearch.admin_requests import ask
from fleetgauge.elasticsearch.transport import Bulk

_DAY = timedelta(days=1)


class _Node(msgspec.Struct):
    modules: list[dict[str, Any]] = []


class _Cluster(msgspec.Struct):
    nodes: dict[str, _Node] = {}


def lifecycle(bulk: Bulk, prefix: str, retention: timedelta | None) -> Mapping[str, Any]:
    """Install the policy; returns the index settings that go with it: none without retention, or without ILM.

    Raises `Transient`, `Stop`, `Terminal`.
    """
    if retention is None or not _has_lifecycle(bulk):
        return {}
    name = f"fleetgauge-{prefix}"
    # The date in the name is the day's begin; a day has expired when all of it has.
    age = f"{(retention + _DAY) // timedelta(seconds=1)}s"
    policy = {"policy": {"phases": {"delete": {"min_age": age, "actions": {"delete": {}}}}}}
    ask(bulk, "PUT", f"/_ilm/policy/{name}", policy, "give the login the right manage_ilm")
    return {"index.lifecycle.name": name, "index.lifecycle.parse_origination_date": True}


def _has_lifecycle(bulk: Bulk) -> bool:
    path = "/_nodes?filter_path=nodes.*.modules.name,error"
    answer = ask(bulk, "GET", path, None, "give the login the right monitor on the cluster", shape=_Cluster)
    return bool(answer.nodes) and all({"name": "x-pack-ilm"} in node.modules for node in answer.nodes.values())
