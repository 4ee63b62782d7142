"""Rows of texts as one Parquet file, each column of the type that it is said to hold."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from fleetgauge.errors import Terminal

Kind = Literal["text", "decimal", "instant", "integer", "boolean"]
_TYPES: Mapping[Kind, tuple[pa.DataType, Callable[[str], Any]]] = {
    "text": (pa.string(), str),
    "decimal": (pa.decimal128(38, 9), Decimal),
    "instant": (pa.timestamp("us", tz="UTC"), datetime.fromisoformat),
    "integer": (pa.int64(), int),
    "boolean": (pa.bool_(), "true".__eq__),
}


def write_parquet(rows: Iterable[Mapping[str, str | None]], kinds: Mapping[str, Kind], out: Path) -> int:
    """Write `rows` with the columns of `kinds`, all in one go; how many they are. What is not there is null.

    Raises `Terminal` for a number with more than nine decimals, which is never rounded, and `OSError`.
    """
    held = list(rows)
    arrays, schema = [], []
    for name, kind in kinds.items():
        of, read = _TYPES[kind]
        values = [None if row.get(name) is None else read(str(row[name])) for row in held]
        try:
            arrays.append(pa.array(values, type=of))
        except pa.ArrowInvalid as error:
            raise Terminal(f"{name} holds a number that {of} does not hold exactly: {error}") from None
        schema.append(pa.field(name, of))
    with out.open("wb") as file:
        pq.write_table(pa.table(arrays, schema=pa.schema(schema)), file, compression="zstd")
    return len(held)
