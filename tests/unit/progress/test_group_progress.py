from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from fleetgauge.errors import Terminal
from fleetgauge.kafka.kafka_clients import client_options
from fleetgauge.progress.offsets import GroupProgress, PartitionProgress, went_backwards
from fleetgauge.settings import KafkaSettings

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
EARLIER = NOW - timedelta(minutes=5)


def progress(*partitions: PartitionProgress) -> GroupProgress:
    return GroupProgress("device-commands", "fleetgauge-device-commands", None, NOW, partitions)


def test_caught_up_counts_as_the_moment_of_looking():
    assert progress(PartitionProgress(0, 0, 10, 10, None), PartitionProgress(1, 5, 5, None, None)).watermark == NOW


def test_the_slowest_partition_decides():
    behind = PartitionProgress(1, 0, 20, 10, EARLIER)
    slower = PartitionProgress(2, 0, 20, None, EARLIER - timedelta(minutes=1))
    found = progress(PartitionProgress(0, 0, 10, 10, None), behind, slower)
    assert found.watermark == slower.unfinished_at
    assert found.lag == 30
    assert found.committed == {0: 10, 1: 10}


def test_what_retention_deleted_is_finished():
    partition = PartitionProgress(0, 100, 120, 40, NOW)
    assert (partition.finished, partition.lag) == (100, 20)


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ({}, {0: 0, 1: 7}, set()),
        ({0: 5}, {0: 5, 1: 1}, set()),
        ({0: 5, 1: 5}, {0: 9, 1: 4}, {1}),
        ({0: 5}, {}, set()),  # commits can expire while the group is away
    ],
)
def test_went_backwards(before, now, expected):
    assert went_backwards(before, now) == expected


def test_client_options_are_bounded_and_carry_the_login():
    options = client_options(
        KafkaSettings(
            bootstrap_servers="127.0.0.1:1,127.0.0.1:2",
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="SCRAM-SHA-512",
            username="reader",
            password=SecretStr("pw"),
        ),
        7,
    )
    assert options["bootstrap_servers"] == ["127.0.0.1:1", "127.0.0.1:2"]
    assert options["request_timeout_ms"] == options["bootstrap_timeout_ms"] == 7000
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("reader", "pw")
    assert "ssl_context" not in options


def test_an_unreadable_ca_file_is_not_ignored(tmp_path: Path):
    with pytest.raises(Terminal, match=r"kafka\.ca_file"):
        client_options(KafkaSettings(security_protocol="SSL", ca_file=tmp_path / "none.pem"), 7)
