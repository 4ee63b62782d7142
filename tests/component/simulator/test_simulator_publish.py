"""Record batches, read back with kafka-python's own decoder; and the DBA's files, cut into statements."""

from pathlib import Path

import pytest
from kafka.record import MemoryRecords

from fleetlab.simulator.operations import statements
from fleetlab.simulator.publish import encode
from fleetlab.simulator.records import Record

SOURCE_SQL = Path(__file__).parents[3] / "sql" / "source"


@pytest.mark.parametrize("codec", range(5), ids=["none", "gzip", "snappy", "lz4", "zstd"])
def test_a_batch_keeps_keys_values_timestamps_and_order(small_backlog: list[Record], codec: int) -> None:
    records = [r for r in small_backlog if r.value is None][:1] + small_backlog[:500]
    batch = MemoryRecords(encode(records, codec)).next_batch()
    assert batch is not None and batch.validate_crc()
    assert batch.compression_type == codec
    read = [(r.offset, r.timestamp, r.key, r.value) for r in batch]
    assert read == [(n, r.append_ms, r.key, r.value) for n, r in enumerate(records)]
    assert read[0][3] is None, "a tombstone stays one"


def test_each_statement_of_the_dba_stands_alone() -> None:
    found = {path.name: [s.decode() for s in statements(path.read_text())] for path in SOURCE_SQL.glob("*.sql")}
    assert sorted(found) == ["01_reader.sql", "02_heartbeat.sql", "03_indexes.sql", "04_statements.sql"]
    (function,) = (s for s in found["02_heartbeat.sql"] if "CREATE OR REPLACE FUNCTION" in s)
    assert function.rstrip().endswith("END $$;")
    assert all(s.count("CONCURRENTLY IF NOT EXISTS") == 1 for s in found["03_indexes.sql"])
    for name, parts in found.items():
        assert "".join((SOURCE_SQL / name).read_text().split()) == "".join("".join(parts).split()), (
            "nothing is left out"
        )
