"""Files with unit tests of metrics: every problem with its line, before any server is asked."""

from pathlib import Path

import pytest

from fleetgauge.rollup import DefinitionError, load_definitions
from fleetgauge.rollup.metric_tests import load_tests
from fleetgauge.rollup.metric_tests.given import rewritten
from own_metrics import own_metrics

ROOT = Path(__file__).parents[4]

METRIC = """\
metric: ride
source: operations
event_time: began
dimensions: {zone: {column: zone, limit: 8}}
measures: {n: {agg: count}, length: {agg: percentile, of: length}}
"""
TEST = """\
now: 2026-11-21T11:00:00Z
given:
  rides:
    - {began: 2026-11-21T10:00:00Z, zone: a, length: 5}
expect:
  hour:
    - {zone: a, n: 1, length: {p50: 5}}
"""


def problems(root: Path, text: str) -> str:
    folder = root / "sql" / "metrics" / "ride"
    (folder / "tests").mkdir(parents=True)
    (folder / "metric.yaml").write_text(METRIC)
    (folder / "source.sql").write_text("SELECT began, zone, length FROM rides")
    (folder / "tests" / "one.yaml").write_text(text)
    definitions = load_definitions(root)
    try:
        (test,) = load_tests(root, definitions.values())["ride"]
    except DefinitionError as error:
        return "\n".join(error.problems)
    assert (test.name, test.shown) == ("one", "sql/metrics/ride/tests/one.yaml")
    return ""


def test_a_good_file(tmp_path: Path) -> None:
    assert problems(tmp_path, TEST) == ""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("T11:00:00Z", " 11:00:00", ":1: now: 2026-11-21T11:00:00 is not an instant; write it like"),
        ("T10:00:00Z", " 10:00:00", ":4: began: 2026-11-21 10:00:00 has no offset from UTC"),
        ("given:", "givn:", ":2: givn: is not a known key"),
        ("  rides:", '  "rides; --":', ":3: given.rides; --: "),
        ("  hour:", "  year:", ":6: year is no level of the metric; write one of minute, hour, day"),
        ("n: 1", "m: 1", ":7: hour has no column m; it has window_start, zone, n, length, provisional"),
        ("{p50: 5}", "5", ":7: length: 5 is not a set of quantiles"),
        ("{p50: 5}", "{median: 5}", ":7: length: a mapping is not a set of quantiles"),
        ("zone: a, n: 1", "window_start: 10:00", ":7: 10:00 is a number that YAML would change"),
        ("{p50: 5}}", "{p50: 5}}\n    - {n: 3}", ":8: other rows of hour say zone; say it here too"),
        ("expect:", "now: 2026-11-21T11:00:00Z\nexpect:", ":5: key 'now' stands here twice"),
        ("expect:", "types: {rides: {zone: text DEFAULT f()}}\nexpect:", ":5: types.rides.zone: "),
        ("given:", "given: [", ":4: is not YAML: a value is missing or broken"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in TEST
    assert "sql/metrics/ride/tests/one.yaml" + said in problems(tmp_path, TEST.replace(old, new))


def test_documents_that_the_metric_does_not_read_are_refused(tmp_path: Path) -> None:
    definition = own_metrics()["telemetry"]
    tests = tmp_path / "sql" / "metrics" / "telemetry" / "tests"
    tests.mkdir(parents=True)
    text = (ROOT / "sql" / "metrics" / "telemetry" / "tests" / "two_vehicles.yaml").read_text()
    for old, new, said in (
        ("  device_events:", "  elsewhere:", "elsewhere is not what the metric reads; give documents of device_events"),
        ('"@timestamp": 2026-11-21T10:00:05+09:00, kind', "kind", ": a document needs its event time, '@timestamp'"),
        ("expect:", "types: {device_events: {speed: float}}\nexpect:", ": documents have the types of their contracts"),
    ):
        assert old in text
        (tests / "one.yaml").write_text(text.replace(old, new))
        with pytest.raises(DefinitionError) as error:
            load_tests(tmp_path, [definition])
        assert said in str(error.value)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("SELECT * FROM shop.loaves", "SELECT * FROM loaves"),
        ("SELECT shop.loaves.a FROM shop . loaves", "SELECT loaves.a FROM loaves"),
        (
            "SELECT 'shop.loaves' -- shop.loaves\nFROM \"shop\".loaves l",
            "SELECT 'shop.loaves' -- shop.loaves\nFROM loaves l",
        ),
        ("SELECT l.loaves FROM shop.loaves l", "SELECT l.loaves FROM loaves l"),
        ("SELECT * FROM other.loaves", "SELECT * FROM other.loaves"),
    ],
)
def test_given_tables_lose_their_schema_and_nothing_else(text: str, wanted: str) -> None:
    assert rewritten(text, {"shop.loaves": []}) == wanted
