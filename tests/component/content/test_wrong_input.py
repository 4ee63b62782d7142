"""Whatever a content file holds, `lint` ends with words: file, line, cause and cure, and never a traceback."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleetgauge.lint import check

ROOT = Path(__file__).parents[3]

METRIC = """\
metric: ride
source: operations
event_time: began
change_time: changed
key: id
grace: 30s
dimensions:
  zone: {column: zone_code, limit: 8, description: Where}
  kind: {column: kind, limit: 4}
rollups:
  by_zone: [zone]
measures:
  rides: {agg: count}
  done: {agg: count, where: {state: [done, paid]}}
  fare: {agg: sum, of: fare, type: numeric, where: {fare: {gte: 0, lt: 1000}}}
  length: {agg: percentile, of: length}
  riders: {agg: distinct, of: rider}
  soc: {agg: last, of: soc}
  share: {agg: ratio, numerator: done, denominator: rides}
checks: {fail: [done <= rides], warn: [fare >= 0]}
retention: {minute: 90d, hour: 2y}
freshness: {warn: 5m, error: 15m}
"""
SOURCE = "SELECT id, began, changed, zone_code, kind, state, fare, length, rider, soc\nFROM rides\n"
VIEWS = "CREATE OR REPLACE VIEW metrics.ride_cost AS\nSELECT window_start, rides FROM metrics.ride_hour;\n"
TEST = """\
now: 2026-11-21T11:00:00Z
given:
  rides:
    - {id: 1, began: 2026-11-21T10:00:00Z, zone_code: a, kind: x, state: done, fare: 2.50, length: 5, rider: 1, soc: 1}
expect:
  hour:
    - {zone: a, kind: x, rides: 1}
"""
TARIFF = """\
currency: KRW
time_zone: Asia/Seoul
entries:
  - carrier: skt
    valid_from: 2026-01-01T00:00:00+09:00
    overhead_bytes: 81
    step_bytes: 512
    price: "0.25"
    rounding: message
"""
CONSUMER = """\
from fleetgauge.ingest import Consumer

consumer = Consumer(name="rides", topic="rides", contracts=("battery",), index="rides")
"""

FILES = {
    "sql/metrics/ride/metric.yaml": METRIC,
    "sql/metrics/ride/source.sql": SOURCE,
    "sql/metrics/ride/views.sql": VIEWS,
    "sql/metrics/ride/tests/one.yaml": TEST,
    "sql/tariffs/kr.yaml": TARIFF,
    "sql/source/current_state.yaml": "vehicles: vehicle_history\n",
    "consumers/rides.py": CONSUMER,
    "schemas/events/battery.json": (ROOT / "schemas/events/battery.json").read_text(),
}
PYTHON_WORDS = re.compile(
    r"Traceback|valid dictionary|Input should|\bNone\b|NoneType|dict\b|\bstr\b|\bint\b|Decimal\(|datetime\.|<class|"
    r"TypeError|KeyError|ValueError|Pydantic|sqlglot|TokenType|codec can't"
)


@pytest.fixture
def content(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """All of it, save events where a file of the metrics is mutated: their contracts take longest to check."""
    file = request.node.callspec.params.get("file", "") if hasattr(request.node, "callspec") else ""
    for name, text in FILES.items():
        if file.startswith("sql/") and not name.startswith("sql/"):
            continue
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    if not file.startswith("sql/"):
        shutil.copy(ROOT / "schemas/events/common.json", tmp_path / "schemas/events/common.json")
    return tmp_path


def told(problems: tuple[str, ...], file: str, line: int | None = None) -> None:
    """All of them must be in good words; at least one is of this file, at this line if it is given."""
    for problem in problems:
        assert re.match(r"[\w./-]+:\d+: ", problem), problem
        assert not PYTHON_WORDS.search(problem), problem
        assert ";" in problem or " must " in problem, f"no cure: {problem}"
    where = file if line is None else f"{file}:{line}:"
    assert any(problem.startswith(where) for problem in problems), (where, problems)


def test_the_content_that_is_mutated_is_good(content: Path) -> None:
    assert check(content).problems == ()


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("byte", [b"\xff", b"\xfe\xff", b"\x00", b"\xc3("])
def test_a_bad_byte_is_told_with_its_line(content: Path, file: str, byte: bytes) -> None:
    raw = (content / file).read_bytes()
    at = raw.find(b"\n") + 1
    (content / file).write_bytes(raw[:at] + byte + raw[at:])
    told(check(content).problems, file, 1 + (at > 0))


@pytest.mark.parametrize("file", FILES)
def test_a_truncated_file_is_told_or_still_valid(content: Path, file: str) -> None:
    text = (content / file).read_text()
    for cut in range(0, len(text), max(1, len(text) // 11)):
        (content / file).write_text(text[:cut])
        if problems := check(content).problems:
            told(problems, file)


def keys(value: Any, at: tuple[int | str, ...] = ()) -> Iterator[tuple[int | str, ...]]:
    if at:
        yield at
    for key, below in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from keys(below, (*at, key))


def put(value: Any, at: tuple[int | str, ...], new: Any) -> None:
    for key in at[:-1]:
        value = value[key]
    value[at[-1]] = new


WRONG: list[Any] = [
    None,
    True,
    7,
    -1,
    1.5,
    10**400,
    "",
    "x y",
    "'; DROP TABLE x; --",
    [],
    {},
    [[]],
    {"a": {"b": 1}},
    "\ud83d",
]


@pytest.mark.parametrize("file", [file for file in FILES if file.endswith((".yaml", ".json"))])
def test_a_wrong_value_at_any_key_is_told_or_valid(content: Path, file: str) -> None:
    read, write = (json.loads, json.dumps) if file.endswith(".json") else (yaml.safe_load, yaml.safe_dump)
    text = (content / file).read_text()
    for number, at in enumerate(keys(read(text))):
        step = len(WRONG) if file.endswith(".json") else len(WRONG) // 2
        for new in WRONG[number % step :: step]:
            changed = read(text)
            put(changed, at, new)
            (content / file).write_text(write(changed), errors="surrogatepass")
            if problems := check(content).problems:
                told(problems, file)
