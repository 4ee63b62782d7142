"""Minute, hour and day tables from a read replica or from the metrics database itself."""

from fleetgauge.rollup.definition import COMMANDS, GRAINS, Definition, Grain
from fleetgauge.rollup.loader import DefinitionError, load_definitions

__all__ = ["COMMANDS", "GRAINS", "Definition", "DefinitionError", "Grain", "load_definitions"]
