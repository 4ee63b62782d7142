"""Unit tests of metrics as data: rows that are given, rows that must come out, through the real queries and engine."""

from fleetgauge.rollup.unittests.file import MetricTest, load_tests
from fleetgauge.rollup.unittests.run import Outcome, run_tests

__all__ = ["MetricTest", "Outcome", "load_tests", "run_tests"]
