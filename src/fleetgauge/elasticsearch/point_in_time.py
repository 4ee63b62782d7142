"""A point in time: one look at stored documents, the same to its end whatever is written meanwhile."""

import re

from fleetgauge.elasticsearch.client import ApiError, Elasticsearch, NotFoundError
from fleetgauge.elasticsearch.elasticsearch_errors import reason_of
from fleetgauge.errors import Conflict

KEEP_ALIVE = "5m"
"""How long the server keeps a point in time between two searches."""


_SHARD = re.compile(r"\[\[([^\[\]]+)\]\[\d+\]")
"""How an answer names shards of which no copy is there."""


def refresh(client: Elasticsearch, index: str, *, ignore_unavailable: bool = False) -> None:
    """Make every acknowledged write visible; blocks. With `ignore_unavailable`, closed indices are left out.

    Raises `Conflict` where a shard was not refreshed, since what it holds might be missed for good, or of which no copy
    is there: it names the indices, at once, where a refresh would wait for them. Raises the client's errors too, which
    the caller translates.
    """
    _refuse_red(client, index, ignore_unavailable=ignore_unavailable)
    shards = client.indices.refresh(index=index, ignore_unavailable=ignore_unavailable)["_shards"]
    if shards["failed"]:
        raise Conflict(
            f"{shards['failed']} shard(s) of {index} were not refreshed, so that stored events might be missed; look "
            "at the health of the cluster"
        )


def _refuse_red(client: Elasticsearch, index: str, *, ignore_unavailable: bool) -> None:
    try:
        client.search(
            index=index,
            size=0,
            track_total_hits=False,
            allow_partial_search_results=False,
            ignore_unavailable=ignore_unavailable,
        )
    except ApiError as error:
        if not (red := sorted(set(_SHARD.findall(reason_of(error))))):
            raise
        raise Conflict(
            f"{', '.join(red)} is red: no copy of one of its shards is there, so that nothing of {index} is read; "
            "bring back the node that holds it (GET /_cluster/allocation/explain), restore it from a snapshot, or "
            "delete it and load its day again"
        ) from error


_INDICES = 10_000
"""More days than anybody keeps."""


def documents_by_index(client: Elasticsearch, index: str) -> dict[str, int]:
    """How many documents each open index behind an alias holds; none without an index. Blocks; raises as `refresh`."""
    try:
        point = open_point(client, index, ignore_unavailable=True)
    except NotFoundError as error:
        if error.error == "index_not_found_exception":
            return {}
        raise
    try:
        found = client.search(
            pit={"id": point, "keep_alive": KEEP_ALIVE},
            size=0,
            track_total_hits=False,
            aggregations={"all": {"terms": {"field": "_index", "size": _INDICES}}},
            allow_partial_search_results=False,
            filter_path=["aggregations"],
        ).body
    finally:
        client.options(ignore_status=404).close_point_in_time(id=point)
    buckets = found.get("aggregations", {"all": {"buckets": []}})["all"]["buckets"]
    return {one["key"]: one["doc_count"] for one in buckets}


def open_point(client: Elasticsearch, index: str, *, ignore_unavailable: bool = False) -> str:
    """The id of a point in time that shows every acknowledged write; searches go on with the id that each answers.

    Called by whoever reads stored documents; blocks. Raises what `refresh` does.
    """
    refresh(client, index, ignore_unavailable=ignore_unavailable)
    point = client.open_point_in_time(index=index, keep_alive=KEEP_ALIVE, ignore_unavailable=ignore_unavailable)
    return str(point["id"])
