"""Record batches as producers send them."""

import struct
from collections.abc import Sequence
from typing import Any

from kafka.record.memory_records import MemoryRecordsBuilder

CODECS = {"plain": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
MIB = 1024 * 1024


def made(values: Sequence[bytes | None], codec: int = 0, base: int = 0, headers: Any = ()) -> bytes:
    builder = MemoryRecordsBuilder(magic=2, compression_type=codec, batch_size=1 << 31)
    for number, value in enumerate(values):
        builder.append(1_000 + number, b"k", value, list(headers))
    builder.close()
    batch = bytearray(builder.buffer())
    struct.pack_into(">q", batch, 0, base)
    return bytes(batch)
