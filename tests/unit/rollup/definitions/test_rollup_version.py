"""Every field of a definition either changes its version or has a reason not to; a new field must be classified."""

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from fleetgauge.rollup.definitions.definition import Definition, of_plain
from fleetgauge.rollup.definitions.measures import MEASURES
from fleetgauge.rollup.definitions.parts import Dimension, Documents, Interval
from fleetgauge.rollup.definitions.version import UNVERSIONED, VERSIONED

ADAPTER: TypeAdapter[Definition] = TypeAdapter(Definition)
PARTS: dict[str, tuple[type, ...]] = {
    "dimensions.*": (Dimension,),
    "documents": (Documents,),
    "interval": (Interval,),
    "measures.*": tuple(MEASURES.values()),
}
"""Parts whose own fields are classified one by one."""

PLAIN: dict[str, Any] = {
    "metric": "m",
    "source": "operations",
    "source_sql": "SELECT happened_at, changed_at, id, zone, kind, amount FROM facts",
    "event_time": "happened_at",
    "change_time": "changed_at",
    "grace": "9s",
    "dimensions": {"zone": {"column": "zone", "limit": 9}, "kind": {"column": "kind", "limit": 9}},
    "measures": {
        "n": {"agg": "count"},
        "amount": {"agg": "sum", "of": "amount"},
        "least": {"agg": "min", "of": "amount"},
        "sketch": {"agg": "percentile", "of": "amount"},
        "latest": {"agg": "last", "of": "amount"},
        "share": {"agg": "ratio", "numerator": "n", "denominator": "amount"},
    },
}
HELD: dict[str, Any] = {
    "interval": {"longest": "1d", "until_next_of": "id"},
    "measures": {"held": {"agg": "duration"}},
}
KEYED: dict[str, Any] = {"distinct_key": "0a"}
STORED: dict[str, Any] = {"source_sql": "", "documents": {}, "change_time": None}

CHANGES: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {
    "metric": [({}, {"metric": "other"})],
    "source": [({}, {"source": "other"})],
    "source_sql": [({}, {"source_sql": PLAIN["source_sql"] + " WHERE amount > 0"})],
    "documents.where": [(STORED, {**STORED, "documents": {"where": {"kind": "x"}}})],
    "event_time": [({}, {"event_time": "changed_at"})],
    "change_time": [({}, {"change_time": None}), ({}, {"change_time": "happened_at"})],
    "key": [({}, {"key": "id"})],
    "time_zone": [({}, {"time_zone": "Asia/Kolkata"})],
    "dialect": [({}, {"dialect": "mysql"})],
    "datetime_offset": [({"dialect": "mysql"}, {"dialect": "mysql", "datetime_offset": "+09:00"})],
    "grace": [({}, {"grace": "10s"})],
    "late": [({}, {"late": "1d"})],
    "accepts": [({}, {"accepts": {"earliest": "2015-01-01"}}), ({}, {"accepts": {"before": "2050-01-01"}})],
    "interval.longest": [(HELD, {**HELD, "interval": {"longest": "2d", "until_next_of": "id"}})],
    "interval.until": [(HELD, {**HELD, "interval": {"longest": "1d", "until": "ended"}})],
    "interval.until_next_of": [(HELD, {**HELD, "interval": {"longest": "1d", "until_next_of": "zone"}})],
    "interval.then_by": [(HELD, {**HELD, "interval": {**HELD["interval"], "then_by": "id"}})],
    "interval.known_within": [
        (
            {**HELD, "interval": {"longest": "1d", "until": "ended"}},
            {**HELD, "interval": {"longest": "1d", "until": "ended", "known_within": "1h"}},
        )
    ],
    "grains": [({}, {"grains": ["hour", "day"]}), ({}, {"grains": ["day"]})],
    "rollups": [({}, {"rollups": {"by_zone": ["zone"]}})],
    "dimensions.*.column": [({}, {"dimensions": {**PLAIN["dimensions"], "zone": {"column": "kind", "limit": 9}}})],
    "dimensions.*.limit": [({}, {"dimensions": {**PLAIN["dimensions"], "zone": {"column": "zone", "limit": 10}}})],
    "dimensions.*.tile": [(STORED, {**STORED, "dimensions": {"zone": {"column": "zone", "limit": 9, "tile": 15}}})],
    "dimensions.*.description": [
        ({}, {"dimensions": {**PLAIN["dimensions"], "zone": {"column": "zone", "limit": 9, "description": "d"}}})
    ],
    "provisional_while": [({}, {"provisional_while": "n"})],
    "immutable": [({}, {"immutable": "i"})],
    "source_kept": [({}, {"source_kept": "90d"})],
    "checks": [({}, {"checks": {"fail": ["n > 0"]}})],
    "retention": [({}, {"retention": {"day": "400d"}})],
    "freshness": [({}, {"freshness": {"warn": "9m"}})],
    "views_sql": [({}, {"views_sql": "CREATE OR REPLACE VIEW metrics.m_more AS SELECT 1 AS one"})],
    "description": [({}, {"description": "d"})],
    "owner": [({}, {"owner": "o"})],
    "export": [({}, {"export": [{"measures": ["n"], "over": "1h"}]})],
    "lines": [({}, {"lines": {"measures.n": 7}})],
    "privacy": [
        (
            {"measures": {"d": {"agg": "distinct", "of": "id"}}},
            {"measures": {"d": {"agg": "distinct", "of": "id"}}, "privacy": {"of": "d"}},
        )
    ],
    "distinct_key": [({}, {"distinct_key": "0a"})],
}


def _measure(name: str, **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return {}, {"measures": {**PLAIN["measures"], name: {**PLAIN["measures"][name], **changes}}}


CHANGES |= {
    "measures.*.agg": [_measure("least", agg="max"), _measure("sketch", agg="distinct")],
    "measures.*.of": [_measure(n, of="kind") for n in ("amount", "least", "sketch", "latest")],
    "measures.*.type": [_measure(n, type="numeric") for n in ("amount", "least", "latest")],
    "measures.*.where": [_measure(n, where={"kind": "x"}) for n in ("n", "amount", "least", "sketch", "latest")],
    "measures.*.description": [_measure(n, description="d") for n in PLAIN["measures"]],
    "measures.*.label": [_measure(n, label="L") for n in PLAIN["measures"]],
    "measures.*.unit": [_measure(n, unit="KRW") for n in PLAIN["measures"]],
    "measures.*.personal": [
        (
            {**KEYED, "measures": {"n": {"agg": "count"}, "d": {"agg": "distinct", "of": "id"}}},
            {**KEYED, "measures": {"n": {"agg": "count"}, "d": {"agg": "distinct", "of": "id", "personal": False}}},
        )
    ],
    "measures.*.numerator": [_measure("share", numerator="least")],
    "measures.*.denominator": [_measure("share", denominator="least")],
}


def paths(owner: type = Definition, above: str = "") -> Iterator[str]:
    """Every field, down into the parts."""
    hints = get_type_hints(owner)
    for one in fields(owner):
        path = above + one.name
        below = next((path + end for end in ("", ".*") if path + end in PARTS), None)
        if below is None:
            yield path
        else:
            assert any(map(_is_part, _within(hints[one.name]))), path
            for part in PARTS[below]:
                yield from paths(part, f"{below}.")


def _within(hint: Any) -> Iterator[Any]:
    yield hint
    for one in get_args(hint):
        yield from _within(one)


def _is_part(hint: Any) -> bool:
    return isinstance(hint, type) and is_dataclass(hint)


def definition(changes: dict[str, Any]) -> Definition:
    return ADAPTER.validate_python({**PLAIN, **changes})


@pytest.mark.parametrize("path", sorted(CHANGES))
def test_a_definition_can_be_written_down_and_read_again(path: str) -> None:
    for _, after in CHANGES[path]:
        one = definition(after)
        assert of_plain(json.loads(json.dumps(one.plain())), one.version) == one


def test_every_field_is_classified_and_has_a_change_here() -> None:
    found = set(paths())
    assert not VERSIONED & UNVERSIONED.keys()
    assert found == VERSIONED | UNVERSIONED.keys(), "say in definitions/version.py whether the field changes numbers"
    assert found == CHANGES.keys(), "say in CHANGES how the field changes"


@pytest.mark.parametrize("path", sorted(CHANGES))
def test_a_field_changes_the_version_exactly_if_it_is_said_to(path: str) -> None:
    for before, after in CHANGES[path]:
        changed = definition(before).version != definition(after).version
        assert changed == (path in VERSIONED), (path, after)


@given(
    st.lists(st.sampled_from(sorted(UNVERSIONED)), unique=True),
    st.sampled_from(sorted(VERSIONED - {"documents.where", "dimensions.*.tile"})),
)
def test_no_number_of_other_changes_makes_or_hides_a_version(others: list[str], path: str) -> None:
    before, after = CHANGES[path][0]
    # what changes a part of the measures or the dimensions, or speaks of one, stands alone
    alone = ("measures", "dimensions", "privacy")
    extra = {k: v for one in others for k, v in CHANGES[one][0][1].items() if k not in alone}
    if "grains" in after:
        extra.pop("retention", None)  # of a grain that is not kept then
    if "interval" in after:
        extra = {k: v for k, v in extra.items() if k not in ("provisional_while", "checks", "export")}
    plain, same, new = (definition(c) for c in (before, {**before, **extra}, {**after, **extra}))
    assert plain.version == same.version != new.version
