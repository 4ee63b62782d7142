"""One Parquet file, put where it belongs as a whole: written beside, and then moved there."""

from collections.abc import Iterable
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from fleetgauge.errors import Transient


def put_file(store: fs.FileSystem, folder: str, path: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Write `batches` to `path`, below `folder`; how many rows they have. Blocks.

    The same rows make the same bytes. Nobody sees a part of it, and after a failure what was there before stays. Raises
    `Transient` where the store does not take it, and whatever `batches` raises.
    """
    staging, rows = f"{folder}/_staging/{uuid4().hex}", 0
    try:
        if "s3" not in store.type_name:  # which knows no folders
            for name in (staging, path):
                store.create_dir(name.rpartition("/")[0], recursive=True)
        try:
            with (
                store.open_output_stream(staging) as sink,
                pq.ParquetWriter(sink, schema, compression="zstd") as writer,
            ):
                for batch in batches:
                    writer.write_batch(batch)
                    rows += batch.num_rows
            store.move(staging, path)
        except BaseException:
            _forget(store, staging)
            raise
    except OSError as error:
        raise Transient(f"{path} could not be written: {error}; the file that was there before stays") from error
    return rows


def _forget(store: fs.FileSystem, path: str) -> None:
    if store.get_file_info(path).type == fs.FileType.File:
        store.delete_file(path)
