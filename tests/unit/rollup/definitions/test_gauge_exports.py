"""`export:` of a definition: what it says is refused where it could not be told, or not be summed."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.gauge_exports import GaugeExport, level_of
from fleetgauge.rollup.operating.business_exports import series_names
from own_metrics import own_metrics

ROOT = Path(__file__).parents[4]
PLAIN: dict[str, Any] = {
    "metric": "ride",
    "source": "operations",
    "source_sql": "SELECT at, zone, model, rider, m FROM rides",
    "event_time": "at",
    "dimensions": {"zone": {"column": "zone", "limit": 10}, "model": {"column": "model", "limit": 5}},
    "rollups": {"by_zone": ["zone"]},
    "measures": {
        "rides": {"agg": "count"},
        "far": {"agg": "count"},
        "far_rate": {"agg": "ratio", "numerator": "far", "denominator": "rides"},
        "m": {"agg": "percentile", "of": "m"},
        "riders": {"agg": "distinct", "of": "rider"},
    },
    "retention": {"minute": "2h", "hour": "90d"},
}


def made(*export: dict[str, Any]) -> Definition:
    return TypeAdapter(Definition).validate_python(PLAIN | {"export": list(export)})


def test_the_smallest_table_of_the_grain_is_read() -> None:
    def level(over: str, *by: str) -> str:
        definition = made({"measures": ["rides"], "over": over, "by": list(by)})
        found = level_of(definition.export[0], definition.levels)
        assert found is not None
        return found.name

    assert level("1h", "zone") == "minute"
    assert level("12h", "zone") == "by_zone_hour"
    assert level("12h", "zone", "model") == "hour"
    assert level("7d", "zone") == "by_zone_day"
    assert level("7d", "model") == "day"


@pytest.mark.parametrize(("over", "said"), [("90m", "90m"), ("120m", "2h"), ("24h", "1d"), ("7d", "7d")])
def test_a_span_is_said_in_its_largest_whole_unit(over: str, said: str) -> None:
    assert made({"measures": ["rides"], "over": over}).export[0].said_over == said


@pytest.mark.parametrize(
    ("export", "words"),
    [
        ([{"measures": ["riders"], "over": "1h"}], "of kind distinct"),
        ([{"measures": ["ride"], "over": "1h"}], "no measure"),
        ([{"measures": ["rides"], "over": "1h", "by": ["carrier"]}], "carrier is no dimension"),
        ([{"measures": ["rides"], "over": "1h", "by": ["zone", "zone"]}], "stands there twice"),
        ([{"measures": ["rides"], "over": "30s"}], "no whole number of windows"),
        ([{"measures": ["rides"], "over": "400m"}], "no whole number of windows"),
        ([{"measures": ["rides"], "over": "36d"}], "no whole number of windows"),
        ([{"measures": ["rides"], "over": "3h"}], "longer than rows of grain minute are kept"),
        ([{"measures": ["rides"], "over": "1h"}, {"measures": ["far", "rides"], "over": "60m"}], "exported twice"),
        (
            [{"measures": ["rides"], "over": "1h"}, {"measures": ["rides"], "over": "7d", "by": ["zone"]}],
            "nobody could sum it",
        ),
    ],
)
def test_what_cannot_be_told_is_refused(export: list[dict[str, Any]], words: str) -> None:
    plain = PLAIN | {"export": [GaugeExport(**one) for one in export]}
    with pytest.raises(ValueError, match=words):
        Definition(**plain)


def test_names_and_labels_are_known_without_a_database() -> None:
    definition = made({"measures": ["rides", "far_rate", "m"], "over": "1h", "by": ["zone"]})
    assert series_names(definition) == {
        "fleetgauge_business_ride_rides": {"zone", "over"},
        "fleetgauge_business_ride_far_rate": {"zone", "over"},
        "fleetgauge_business_ride_m": {"zone", "over", "quantile"},
    }


def test_a_change_of_what_is_exported_is_no_new_version() -> None:
    assert made().version == made({"measures": ["rides"], "over": "1h"}).version
    assert all(one.over <= timedelta(days=35) for d in own_metrics().values() for one in d.export)
