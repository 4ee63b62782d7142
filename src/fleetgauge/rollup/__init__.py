"""Minute, hour and day tables from a read replica or from the metrics database itself."""

from fleetgauge.rollup.definitions.definition import COMMANDS, Definition
from fleetgauge.rollup.definitions.levels import GRAINS, Grain
from fleetgauge.rollup.definitions.loader import DefinitionError, load_definitions, read_definitions
from fleetgauge.rollup.execute.metrics_run import run_metrics
from fleetgauge.rollup.execute.report import RunReport, raise_failures

__all__ = [
    "COMMANDS",
    "GRAINS",
    "Definition",
    "DefinitionError",
    "Grain",
    "RunReport",
    "load_definitions",
    "raise_failures",
    "read_definitions",
    "run_metrics",
]
