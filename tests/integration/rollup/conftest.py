"""Databases of their own for each module, on the servers of the run."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from rollup_world import World, build

from fleetlab.stack import PostgresState


@pytest.fixture(scope="module")
def world(postgres: PostgresState, metrics_template: str) -> Iterator[World]:
    """Empty facts, an empty metrics database; a test migrates its own definition."""
    with build(postgres, f"rollup_{uuid4().hex[:12]}", metrics_template) as found:
        yield found
