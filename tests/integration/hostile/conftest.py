"""The worlds of the other folders, for hostile tests: databases of their own for each module."""

import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from fleetlab.stack import PostgresState

sys.path.insert(0, str(Path(__file__).parents[1] / "rollup"))

from rollup_world import World, build


@pytest.fixture(scope="module")
def world(postgres: PostgresState) -> Iterator[World]:
    """Empty facts, an empty metrics database; a test migrates its own definition."""
    with build(postgres, f"hostile_{uuid4().hex[:12]}") as found:
        yield found
