"""Exported files without a person: Parquet by its text columns, anything that is text as it is.

A file is written beside and moved to where it was, as exports are.
"""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from fleetgauge.analytics.parquet_days import store_of
from fleetgauge.erasure.found import Found, Tell
from fleetgauge.errors import Transient
from fleetgauge.privacy.identity import Identity

_TEXTS = (".csv", ".json", ".jsonl", ".ndjson", ".html", ".md", ".txt", ".sql")


class ExportedFiles:
    """Those below one folder or URI."""

    def __init__(self, destination: str, identity: Identity) -> None:
        self.name = f"exports in {destination.partition('?')[0]}"
        self._shown = destination.partition("?")[0]
        self._store, self._root = store_of(destination)
        self._identity = identity

    def run(self, tell: Tell, *, dry_run: bool) -> None:
        """See `ErasureStep.run`."""
        try:
            listed = self._store.get_file_info(fs.FileSelector(self._root, recursive=True, allow_not_found=True))
            for info in listed:
                if info.type == fs.FileType.File and self._frees(info.path, dry_run=dry_run):
                    tell(Found(self._shown, "files", 1))
        except (pa.ArrowException, OSError) as error:
            said = f"{self.name} cannot be searched: {type(error).__name__}"
            raise Transient(f"{said}; see that the store is there and erase again") from None

    def _frees(self, path: str, *, dry_run: bool) -> bool:
        if path.endswith(".parquet"):
            return self._parquet(path, dry_run=dry_run)
        return path.endswith(_TEXTS) and self._text(path, dry_run=dry_run)

    def _parquet(self, path: str, *, dry_run: bool) -> bool:
        with self._store.open_input_file(path) as source:
            table = pq.ParquetFile(source).read()
        changed = False
        for i, field in enumerate(table.schema):
            if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
                column = table.column(i)
                instead = {one: self._identity.blotted(one) for one in column.unique().to_pylist() if one is not None}
                if any(before != after for before, after in instead.items()):
                    changed = True
                    values = [None if one is None else instead[one] for one in column.to_pylist()]
                    table = table.set_column(i, field, pa.array(values, type=field.type))
        if changed and not dry_run:
            self._replace(path, lambda sink: pq.write_table(table, sink, compression="zstd"))
        return changed

    def _text(self, path: str, *, dry_run: bool) -> bool:
        with self._store.open_input_stream(path) as source:
            before = source.read()
        after = self._identity.blotted_bytes(before)
        if after != before and not dry_run:
            self._replace(path, lambda sink: sink.write(after))
        return bool(after != before)

    def _replace(self, path: str, write: Callable[[Any], Any]) -> None:
        beside = f"{path.rpartition('/')[0]}/_{uuid4().hex}"
        with self._store.open_output_stream(beside) as sink:
            write(sink)
        self._store.move(beside, path)
