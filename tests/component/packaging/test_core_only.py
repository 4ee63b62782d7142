"""The core installs what a consumer needs and no more; what needs an extra says which."""

import ast
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import core_only
from fleetgauge.cli.extras import EXTRAS, missing
from syntax import nodes_of

ROOT = Path(__file__).parents[3]
ENGINE = ROOT / "src" / "fleetgauge"

LOAD_ALL = """
import importlib, pkgutil
for part in ("fleetgauge.cli", "fleetgauge.ingest", "fleetgauge.contracts"):
    for module in pkgutil.walk_packages(importlib.import_module(part).__path__, part + "."):
        importlib.import_module(module.name)
"""

SAY_ALL = """
import contextlib, io, json
from fleetgauge.cli import main
for line in {lines}:
    said = io.StringIO()
    sys.argv = ["fleetgauge", *line.split()]
    with contextlib.redirect_stderr(said):
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code
    print(json.dumps([line, code, said.getvalue()]))
"""

NEED_THE_ROLLUP = [
    "report",
    "migrate",
    "run",
    "plan",
    "freshness",
    "show rental",
    "render rental",
    "backfill rental --from 2026-01-01 --to 2026-01-02",
    "reconcile",
    "retention",
    "doctor",
    "exporter --once",
    "lint",
    "test",
    "metrics ls",
]


def run(code: str) -> str:
    done = subprocess.run(
        core_only.python(code),
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "FLEETGAUGE_CONTENT": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_core_is_small() -> None:
    """A guard against a requirement that drags in much: today 28 distributions, fleetgauge among them."""
    assert len(core_only.closure()) <= 32, sorted(core_only.closure())
    absent = {"pandas", "numpy", "jinja2", "sqlalchemy", "psycopg", "elasticsearch", "apache-airflow", "fleetlab"}
    assert not absent & core_only.closure()


def test_reading_and_delivering_load_only_what_the_core_installs() -> None:
    run(LOAD_ALL)


def test_the_contracts_are_checked_with_the_core_alone() -> None:
    (line,) = run(SAY_ALL.format(lines=["contracts ls"])).splitlines()[-1:]
    assert json.loads(line)[1] == 0, line


def test_a_command_whose_extra_is_missing_names_it_in_one_line() -> None:
    for line in run(SAY_ALL.format(lines=NEED_THE_ROLLUP)).splitlines():
        command, code, said = json.loads(line)
        assert code == 78, (command, said)
        assert said.count("\n") == 1, (command, said)
        assert said.endswith("pip install 'fleetgauge[rollup]'\n"), (command, said)


def test_everything_imported_beyond_the_core_belongs_to_an_extra() -> None:
    used = set()
    for path in ENGINE.rglob("*.py"):
        for node in nodes_of(path):
            if isinstance(node, ast.Import):
                used |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                used.add(node.module.partition(".")[0])
    outside = used - set(sys.stdlib_module_names) - {"fleetgauge"}
    brought = metadata.packages_distributions()
    for module in sorted(outside):
        distributions = {core_only.canonical(name) for name in brought[module]}
        reach = core_only.closure(EXTRAS[module]) if module in EXTRAS else core_only.closure()
        assert distributions & reach, f"{module} is imported and neither in the core nor in EXTRAS (cli/extras.py)"
    assert set(EXTRAS) <= outside, "EXTRAS names what nothing imports"


@pytest.mark.parametrize("name", ["fleetgauge.nowhere", "tomllib_", None])
def test_a_missing_module_that_no_extra_brings_stays_an_error(name: str | None) -> None:
    assert missing(ModuleNotFoundError("No module", name=name)) is None
