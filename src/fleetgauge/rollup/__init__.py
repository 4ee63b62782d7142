"""Minute, hour and day tables from a read replica or from the metrics database itself."""

from fleetgauge.rollup.definitions.definition import COMMANDS, Definition
from fleetgauge.rollup.definitions.levels import GRAINS, Grain
from fleetgauge.rollup.definitions.loader import DefinitionError, load_definitions
from fleetgauge.rollup.passes.report import PassReport, raise_failures
from fleetgauge.rollup.passes.run import run_metrics

__all__ = [
    "COMMANDS",
    "GRAINS",
    "Definition",
    "DefinitionError",
    "Grain",
    "PassReport",
    "load_definitions",
    "raise_failures",
    "run_metrics",
]
