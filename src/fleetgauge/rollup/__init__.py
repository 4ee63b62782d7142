"""Minute, hour and day tables from a read replica or from the metrics database itself."""

from fleetgauge.rollup.definition import COMMANDS, Definition
from fleetgauge.rollup.levels import GRAINS, Grain
from fleetgauge.rollup.loader import DefinitionError, load_definitions
from fleetgauge.rollup.report import PassReport, raise_failures
from fleetgauge.rollup.run import run_metrics

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
