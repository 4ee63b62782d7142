"""What is printed for machines is JSON, whatever the numbers."""

import json
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetgauge.cli.output import duration, print_json
from fleetgauge.errors import Terminal

_numbers = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.decimals(), st.text(max_size=5))
_documents = st.recursive(
    _numbers,
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=10,
)


def _refuse(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_documents)
def test_every_document_is_strict_json(capsys: pytest.CaptureFixture[str], document: object) -> None:
    print_json(document)
    json.loads(capsys.readouterr().out, parse_constant=_refuse)


def test_numbers_that_json_lacks_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"rows": [{"a": float("nan"), "b": (float("inf"), float("-inf"), Decimal("NaN"))}], "c": 1.5})
    assert json.loads(capsys.readouterr().out, parse_constant=_refuse) == {
        "rows": [{"a": "NaN", "b": ["Infinity", "-Infinity", "NaN"]}],
        "c": 1.5,
    }


@pytest.mark.parametrize("text", ["9999999999999999d", "101y", "9" * 5000 + "s", "999999999999999y"])
def test_an_absurd_duration_is_one_line(text: str) -> None:
    with pytest.raises(Terminal, match=r"^--last: .*is longer than 100 years; write a shorter time$") as refused:
        duration("--last", text)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 200
