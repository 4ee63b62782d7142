"""The project's own consumer, to start without servers."""

from pathlib import Path

import pytest

from fleetgauge.ingest.consumer import Consumer, load_consumer


@pytest.fixture(scope="session")
def consumer() -> Consumer:
    return load_consumer(Path(__file__).parents[3], "device-events")
