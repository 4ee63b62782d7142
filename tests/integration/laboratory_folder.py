"""Where the servers of a test run keep their data."""

import shutil
import sys
from pathlib import Path

import psutil

_MEMORY = Path("/dev/shm")
_FILES = 8 * 2**30
_BESIDE = 16 * 2**30


def fast_folder() -> Path | None:
    """A file system in memory, where the machine has plenty of both; None: wherever temporary files lie.

    Postgres makes and deletes some ten thousand small files in a run, which costs a disk's file system processor time.
    """
    if sys.platform != "linux" or not _MEMORY.is_dir():
        return None
    roomy = shutil.disk_usage(_MEMORY).free >= _FILES and psutil.virtual_memory().available >= _BESIDE
    return _MEMORY if roomy else None
