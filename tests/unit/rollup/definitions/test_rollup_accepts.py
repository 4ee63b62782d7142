"""Which event times a metric takes for possible is stated, checked, and a part of its version."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from fleetgauge.rollup import DefinitionError
from fleetgauge.rollup.definitions.definition import Definition, of_plain
from fleetgauge.rollup.definitions.loader import load_definition
from fleetgauge.rollup.sources import postgres_sql

FAR = datetime(2150, 1, 1, tzinfo=UTC)

METRIC = """\
metric: ride
source: operations
event_time: at
measures:
  n: {agg: count}
"""


def load(tmp_path: Path, more: str = "", source: str | None = "SELECT at FROM rides") -> Definition:
    folder = tmp_path / "sql" / "metrics" / "ride"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metric.yaml").write_text(METRIC + more)
    if source is not None:
        (folder / "source.sql").write_text(source)
    return load_definition(folder)


def test_what_is_not_said_is_this_century(tmp_path: Path) -> None:
    one = load(tmp_path)
    assert (one.accepts.earliest, one.accepts.before) == (date(2000, 1, 1), date(2100, 1, 1))
    assert one.accepts.ahead == timedelta(days=30)
    assert "accepts" not in one.plain()
    assert load(tmp_path, "accepts: {earliest: 2000-01-01}\n").version == one.version


def test_how_far_ahead_is_the_metrics_own_word(tmp_path: Path) -> None:
    bookings = load(tmp_path, "accepts: {ahead: 400d}\n")
    assert bookings.accepts.ahead == timedelta(days=400)
    assert bookings.version != load(tmp_path).version


def test_the_queries_leave_out_the_rest_and_count_it(tmp_path: Path) -> None:
    one = load(tmp_path, "accepts: {earliest: 2015-01-01, before: 2030-06-01}\n")
    again = of_plain(one.plain(), one.version)
    assert again is not None
    assert (again.accepts, again.version) == (one.accepts, one.version)
    for query in (postgres_sql.out_of_range(one, FAR), postgres_sql.first_event(one)):
        text = query.as_string(None)
        assert "'2015-01-01T00:00:00Z'" in text
        assert "'2030-06-01T00:00:00Z'" in text
        assert "2100" not in text


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            "accepts: {earliest: 2030-01-01, before: 2020-01-01}\n",
            "accepts.before: must lie after earliest, 2030",
        ),
        ("accepts: {earliest: 0202-01-01}\n", "0202-01-01 is not between 1900-01-01 and 2200-01-01"),
        ("accepts: {earliest: soon}\n", "'soon' is not a date; write one such as 2015-01-01"),
        ("accepts: {earliest: 2015-01-01 10:00:00}\n", "is not a date; write one such as 2015-01-01"),
        ("accepts: {since: 2015-01-01}\n", "'since' is not a known key"),
    ],
)
def test_what_cannot_be_is_told_with_its_line(tmp_path: Path, more: str, said: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        load(tmp_path, more)
    assert said in str(refused.value)
    assert "metric.yaml:6: accepts" in str(refused.value)
