"""Metric tests as data: rows that are given, rows that must come out, through the real queries and engine."""

from fleetgauge.rollup.metric_tests.file import MetricTest, load_tests
from fleetgauge.rollup.metric_tests.run import MetricTestResult, run_tests

__all__ = ["MetricTest", "MetricTestResult", "load_tests", "run_tests"]
