"""The garbage collector, for work that makes records by the thousand which form no cycles."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Look for cycles seldom within the block: walking all records again and again costs a tenth to a quarter."""
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)
