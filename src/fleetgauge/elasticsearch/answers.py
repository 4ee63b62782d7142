"""Which answer means what: the one table that says if an event is stored, dead-lettered, retried or a reason to stop.

Classification goes by the *type* of an error, item by item: a bulk answer of HTTP 200 can hold failures, and a status
alone says too little (403 is a full disk as well as a refused login). Poison is a closed list; whatever is not in the
table stops the consumer, because guessing either loses events or retries for ever.
"""

from dataclasses import dataclass
from enum import StrEnum


class Class(StrEnum):
    """What becomes of one event."""

    OK = "ok"
    """Stored now."""
    DUPLICATE = "duplicate"
    """Was stored before, under the same id: success."""
    POISON = "poison"
    """Can never be stored: to the dead letters."""
    QUARANTINE = "quarantine"
    """Poison of a value that is over the dead-letter limit by itself: kept among the dead letters, told loudly."""
    COLLISION = "collision"
    """Another document is stored under its id: kept among the dead letters, since nobody else has it."""
    RETRY = "retry"
    """Not the event's fault and likely to pass: tried again for as long as it takes."""
    STOP = "stop"
    """Nobody can say: nothing is committed, nothing dead-lettered, the process ends with a message."""


@dataclass(frozen=True)
class Rule:
    """One row of the table. None and an empty tuple match everything; the first row that fits decides."""

    outcome: Class
    statuses: tuple[int, ...]
    types: tuple[str, ...]
    because: str
    reason: str | None = None
    """Text that the reason must hold as well, where a type alone is ambiguous."""


RULES: tuple[Rule, ...] = (
    Rule(Class.OK, (200, 201), (), "created"),
    Rule(
        Class.DUPLICATE, (409,), ("version_conflict_engine_exception",), "`create` found our own id: delivered before"
    ),
    Rule(Class.STOP, (401,), (), "credentials are missing, wrong or expired"),
    Rule(Class.STOP, (), ("security_exception",), "the role may not write here"),
    Rule(
        Class.RETRY,
        (),
        ("cluster_block_exception",),
        "read-only index, write block, disk flood stage, cluster still starting: time or an operator lifts it",
    ),
    Rule(
        Class.RETRY,
        (400,),
        ("validation_exception", "illegal_argument_exception"),
        "the cluster's shard limit is reached: an operator raises it or deletes indices",
        reason="maximum normal shards open",
    ),
    Rule(Class.RETRY, (400,), ("index_closed_exception",), "the index is closed: an operator opens it"),
    Rule(Class.RETRY, (404,), ("index_not_found_exception",), "the index was deleted under way: it is created again"),
    Rule(
        Class.RETRY,
        (),
        (
            "already_closed_exception",
            "circuit_breaking_exception",
            "engine_closed_exception",
            "es_rejected_execution_exception",
            "illegal_index_shard_state_exception",
            "index_shard_closed_exception",
            "master_not_discovered_exception",
            "no_shard_available_action_exception",
            "node_closed_exception",
            "node_disconnected_exception",
            "node_not_connected_exception",
            "primary_missing_action_exception",
            "process_cluster_event_timeout_exception",
            "receive_timeout_transport_exception",
            "shard_not_found_exception",
            "timeout_exception",
            "unavailable_shards_exception",
        ),
        "the cluster is busy, starting, stopping or moving shards",
    ),
    Rule(Class.RETRY, (429, 502, 503, 504), (), "overloaded or unreachable, whoever says so"),
    Rule(
        Class.POISON,
        (400,),
        (
            "document_parsing_exception",
            "mapper_parsing_exception",
            "parsing_exception",
            "strict_dynamic_mapping_exception",
            "x_content_parse_exception",
        ),
        "Elasticsearch cannot read the document",
    ),
    Rule(Class.STOP, (), (), "unknown"),
)
TOO_LARGE = "item_too_large"
"""Error type of a single document that Elasticsearch refuses with HTTP 413; a larger batch is halved instead."""


def classify(status: int, error_type: str | None, reason: str = "") -> Rule:
    """The rule for one item of a bulk answer, or for a whole request that was refused."""
    for rule in RULES:
        if (
            (not rule.statuses or status in rule.statuses)
            and (not rule.types or error_type in rule.types)
            and (rule.reason is None or rule.reason in reason)
        ):
            return rule
    raise AssertionError("the last rule fits everything")
