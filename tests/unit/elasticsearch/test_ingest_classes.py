"""The table of classes, row by row, and the order that matters in it."""

import pytest

from fleetgauge.elasticsearch.answers import RULES, Class, classify


@pytest.mark.parametrize(
    ("status", "error_type", "reason", "outcome"),
    [
        (201, None, "", Class.OK),
        (409, "version_conflict_engine_exception", "", Class.DUPLICATE),
        (409, "something_else", "", Class.STOP),
        (400, "document_parsing_exception", "", Class.POISON),
        (400, "mapper_parsing_exception", "", Class.POISON),
        (400, "strict_dynamic_mapping_exception", "", Class.POISON),
        (429, "es_rejected_execution_exception", "", Class.RETRY),
        (429, "anything", "", Class.RETRY),
        (429, "cluster_block_exception", "flood-stage watermark", Class.RETRY),
        (502, "unknown", "<html>", Class.RETRY),
        (503, "unavailable_shards_exception", "", Class.RETRY),
        (504, "unknown", "", Class.RETRY),
        (403, "cluster_block_exception", "index [x] blocked by: [FORBIDDEN/8/index write (api)]", Class.RETRY),
        (400, "validation_exception", "cluster currently has [9]/[9] maximum normal shards open;", Class.RETRY),
        (400, "validation_exception", "some other rule", Class.STOP),
        (400, "index_closed_exception", "", Class.RETRY),
        (404, "index_not_found_exception", "", Class.RETRY),
        (404, "unknown", "", Class.STOP),
        (500, "node_closed_exception", "", Class.RETRY),
        (500, "null_pointer_exception", "", Class.STOP),
        (401, "security_exception", "", Class.STOP),
        (401, None, "", Class.STOP),
        (403, "security_exception", "action [indices:data/write] is unauthorized", Class.STOP),
        (403, "unknown", "", Class.STOP),
        (400, "illegal_argument_exception", "", Class.STOP),
        (418, "never_heard_of_it", "", Class.STOP),
    ],
)
def test_class_of(status: int, error_type: str | None, reason: str, outcome: Class) -> None:
    assert classify(status, error_type, reason).outcome is outcome


def test_poison_needs_both_a_status_and_a_known_type() -> None:
    poison = [rule for rule in RULES if rule.outcome is Class.POISON]
    assert poison and all(rule.types and rule.statuses for rule in poison)


def test_whatever_is_unknown_stops() -> None:
    assert RULES[-1].outcome is Class.STOP
    assert not RULES[-1].statuses and not RULES[-1].types
