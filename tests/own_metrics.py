"""The project's own metrics, read once for all tests that only look at them."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from fleetgauge.rollup import load_definitions
from fleetgauge.rollup.definitions.definition import Definition


@cache
def own_metrics() -> Mapping[str, Definition]:
    """By name."""
    return MappingProxyType(load_definitions(Path(__file__).parents[1]))
