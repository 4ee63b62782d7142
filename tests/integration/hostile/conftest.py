"""The worlds of the other folders, for hostile tests: databases of their own for each module."""

import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from fleetlab.stack import PostgresState

for folder in ("rollup", "commands"):
    sys.path.insert(0, str(Path(__file__).parents[1] / folder))

from command_weather import CONTENT, Builder, Weather  # noqa: E402
from command_world import ListedDocuments  # noqa: E402
from rollup_world import World, build  # noqa: E402


@pytest.fixture(scope="module")
def world(postgres: PostgresState, metrics_template: str) -> Iterator[World]:
    """Empty facts, an empty metrics database; a test migrates its own definition."""
    with build(postgres, f"hostile_{uuid4().hex[:12]}", metrics_template) as found:
        yield found


@pytest.fixture(scope="session")
def weathers(postgres: PostgresState) -> Iterator[Builder]:
    """Metrics databases of the project's own metrics over commands, as many as a test wants."""
    builder = Builder(postgres, CONTENT, ListedDocuments)
    try:
        yield builder
    finally:
        builder.close()


@pytest.fixture
def weather(weathers: Builder) -> Iterator[Weather]:
    """One of them, empty."""
    with weathers.weather() as made:
        yield made
