"""A point in time: one look at stored documents, the same to its end whatever is written meanwhile."""

from fleetgauge.elasticsearch.client import Elasticsearch
from fleetgauge.errors import Conflict

KEEP_ALIVE = "5m"
"""How long the server keeps a point in time between two searches."""


def refresh(client: Elasticsearch, index: str, *, ignore_unavailable: bool = False) -> None:
    """Make every acknowledged write visible; blocks. With `ignore_unavailable`, closed indices are left out.

    Raises `Conflict` where a shard was not refreshed, since what it holds might be missed for good, and the client's
    errors, which the caller translates.
    """
    shards = client.indices.refresh(index=index, ignore_unavailable=ignore_unavailable)["_shards"]
    if shards["failed"]:
        raise Conflict(
            f"{shards['failed']} shard(s) of {index} were not refreshed, so that stored events might be missed; look "
            "at the health of the cluster"
        )


def open_point(client: Elasticsearch, index: str, *, ignore_unavailable: bool = False) -> str:
    """The id of a point in time that shows every acknowledged write; searches go on with the id that each answers.

    Called by whoever reads stored documents; blocks. Raises what `refresh` does.
    """
    refresh(client, index, ignore_unavailable=ignore_unavailable)
    point = client.open_point_in_time(index=index, keep_alive=KEEP_ALIVE, ignore_unavailable=ignore_unavailable)
    return str(point["id"])
