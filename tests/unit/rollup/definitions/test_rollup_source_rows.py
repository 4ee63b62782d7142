"""A metric that counts not all of its rows gets `source_rows`, and others stay as they are."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from fleetgauge.rollup.definitions.loader import DefinitionError, load_definition
from fleetgauge.rollup.definitions.measures import Count
from fleetgauge.rollup.definitions.source_rows import SOURCE_ROWS

SUM = {"agg": "sum", "of": "fare"}
SOME = {"agg": "count", "where": {"state": "done"}}
ALL = {"agg": "count"}


def loaded(folder: Path, measures: Any, **more: Any) -> Any:
    folder = folder / "sale"
    folder.mkdir()
    text = {
        "metric": "sale",
        "source": "operations",
        "event_time": "at",
        "immutable": "Sales are never changed.",
        "measures": measures,
        **more,
    }
    (folder / "metric.yaml").write_text(yaml.safe_dump(text, sort_keys=False))
    (folder / "source.sql").write_text("SELECT at, fare, state FROM sale\n")
    return load_definition(folder)


@pytest.mark.parametrize("measures", [{"fares": SUM}, {"done": SOME}, {"fares": SUM, "done": SOME}])
def test_rows_are_counted_where_no_measure_counts_them(tmp_path: Path, measures: Any) -> None:
    found = loaded(tmp_path, measures)
    assert list(found.measures) == [*measures, SOURCE_ROWS]
    added = found.measures[SOURCE_ROWS]
    assert isinstance(added, Count) and not added.where and added.label and added.description


@pytest.mark.parametrize("measures", [{"sales": ALL}, {"fares": SUM, "sales": ALL}, {"source_rows": ALL}])
def test_nothing_is_added_where_one_does(tmp_path: Path, measures: Any) -> None:
    assert list(loaded(tmp_path, measures).measures) == list(measures)


def test_durations_are_counted_too(tmp_path: Path) -> None:
    interval = {"until_next_of": "state", "longest": "2h"}
    found = loaded(tmp_path, {"held": {"agg": "duration"}}, interval=interval, change_time="changed")
    assert list(found.measures) == ["held", SOURCE_ROWS]


@pytest.mark.parametrize("taken", [SUM, SOME])
def test_the_name_is_for_the_count_of_all_rows(tmp_path: Path, taken: Any) -> None:
    with pytest.raises(
        DefinitionError, match=r"metric.yaml:\d+: measures.source_rows: .*; choose another name for this one"
    ):
        loaded(tmp_path, {"source_rows": taken})


@pytest.mark.parametrize("measures", [None, [], "count", {"fares": None}, {}])
def test_what_is_no_definition_is_refused_in_its_own_words(tmp_path: Path, measures: Any) -> None:
    with pytest.raises(DefinitionError) as refused:
        loaded(tmp_path, measures)
    assert SOURCE_ROWS not in str(refused.value)
