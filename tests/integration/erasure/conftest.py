"""The worlds of ingest and rollup together: a consumer of its own, and databases of its own."""

import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from ingest_world import world as consumer_world

from fleetlab.stack import PostgresState

sys.path.insert(0, str(Path(__file__).parents[1] / "rollup"))

from rollup_world import World, build

__all__ = ["consumer_world"]


@pytest.fixture(scope="module")
def metrics_world(postgres: PostgresState, metrics_template: str) -> Iterator[World]:
    """Empty facts, an empty metrics database."""
    with build(postgres, f"erasure_{uuid4().hex[:12]}", metrics_template) as found:
        yield found
