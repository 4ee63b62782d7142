"""The page on ingest says what the code does."""

import dataclasses
from pathlib import Path

from fleetgauge.ingest.consumer import Consumer
from fleetgauge.ingest.operate.ingest_tables import catalogue, classes, renewed

PAGE = (Path(__file__).parents[4] / "docs" / "ingest.md").read_text("utf-8")


def test_tables_are_those_of_the_code() -> None:
    assert classes() in PAGE and catalogue() in PAGE
    assert renewed(PAGE) == PAGE  # else: python -m fleetgauge.ingest.operate.ingest_tables docs/ingest.md


def test_every_setting_of_a_consumer_is_named() -> None:
    missing = [field.name for field in dataclasses.fields(Consumer) if field.name not in PAGE]
    assert missing == []
