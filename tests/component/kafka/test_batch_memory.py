"""A record batch takes bounded memory, as another process measures it."""

import subprocess
import sys
from pathlib import Path

import pytest

from record_batches import CODECS, MIB, made


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_memory_is_bounded_whatever_a_batch_becomes(codec: str, tmp_path: Path) -> None:
    """Many records in one batch, a giant in the next, empty ones in a third."""
    script = """
import sys
from kafka.record.memory_records import MemoryRecords
from fleetgauge.kafka.batches import columns
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
before, total, bad = peak(), 0, 0
for name in sys.argv[1:]:
    for part in columns(MemoryRecords(open(name, "rb").read()).next_batch()):
        total += len(part.offsets)
        bad += len(part.unreadable)
print(total, bad, peak() - before)
"""
    names = []
    for number, values in enumerate(([b" " * 20_000] * 3_000, [b"a", b" " * (110 * MIB), b"b"], [None] * 25_000)):
        names.append(tmp_path / str(number))
        names[-1].write_bytes(made(values, CODECS[codec]))
    answer = subprocess.run([sys.executable, "-c", script, *names], capture_output=True, text=True, check=True)
    total, bad, kib = map(int, answer.stdout.split())
    assert (total, bad) == (3_000 + 3 + 25_000, 1)
    assert kib < 80 * 1024
