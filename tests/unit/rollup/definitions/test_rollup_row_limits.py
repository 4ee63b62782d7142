"""Which dimensions are too many for minutes, and what grains make of a definition's tables."""

from pathlib import Path
from typing import Any

import pytest

from fleetgauge.rollup import DefinitionError
from fleetgauge.rollup.definitions import row_limits
from fleetgauge.rollup.definitions.loader import load_definition

METRIC = """
metric: m
source: operations
event_time: at
immutable: It is written once.
change_time: at
dimensions:
  device: {column: device, limit: LIMIT}
  zone: {column: zone, limit: 64}
rollups: {by_zone: [zone]}
measures: {n: {agg: count}}
"""


def written(tmp_path: Path, limit: int, more: str = "") -> Path:
    folder = tmp_path / "sql" / "metrics" / "m"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metric.yaml").write_text(METRIC.replace("LIMIT", str(limit)) + more)
    (folder / "source.sql").write_text("SELECT at, device, zone FROM facts")
    return folder


@pytest.mark.parametrize(
    ("limit", "grains", "said"),
    [
        (1000, "", None),
        (1001, "", "say `grains: [hour, day]`, or a limit of 1,000"),
        (60_000, "grains: [hour, day]", None),
        (60_001, "", "say `grains: [day]`"),
        (
            60_001,
            "grains: [hour, day]",
            "60,001 values by the hour are up to 1,440,024 rows a day; say `grains: [day]`",
        ),
        (100_000, "grains: [day]", None),
    ],
)
def test_a_device_by_the_minute_is_refused(tmp_path: Path, limit: int, grains: str, said: str | None) -> None:
    one = load_definition(written(tmp_path, limit, grains))
    found = row_limits.problems(tmp_path, [one])
    assert len(found) == (said is not None)
    if said is not None:
        assert found[0].startswith("sql/metrics/m/metric.yaml:8: dimensions.device: ")
        assert said in found[0]


@pytest.mark.parametrize(
    ("grains", "levels"),
    [
        ("[hour, day]", {"hour": None, "day": "hour", "by_zone_hour": "hour", "by_zone_day": "by_zone_hour"}),
        ("[day]", {"day": None, "by_zone_day": "day"}),
    ],
)
def test_there_are_tables_of_its_grains_alone(tmp_path: Path, grains: str, levels: dict[str, Any]) -> None:
    one = load_definition(written(tmp_path, 9, f"grains: {grains}"))
    assert {level.name: level.below for level in one.levels} == levels


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("grains: [day, hour]", "write [minute, hour, day], [hour, day] or [day]"),
        ("grains: [minute, day]", "write [minute, hour, day], [hour, day] or [day]"),
        ("grains: []", "grains"),
        ("grains: [week]", "grains"),
        ("grains: [day]\nretention: {hour: 2y}", "names a grain that is not kept; grains are day"),
    ],
)
def test_other_grains_are_refused(tmp_path: Path, more: str, said: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        load_definition(written(tmp_path, 9, more))
    assert said in str(refused.value)
