"""Imports go one way, as docs/architecture.md draws it; a cycle between the parts would show here first."""

import ast
import functools
import re
from pathlib import Path

import pytest

from syntax import nodes_of

ROOT = Path(__file__).parents[2]
ENGINE = ROOT / "src" / "fleetgauge"
FOUNDATION = {"settings", "addresses", "http_in_time", "errors", "clock", "files"}
MAY_IMPORT = {
    "contracts": set[str](),
    "privacy": set[str](),
    "elasticsearch": set[str](),
    "mysql": set[str](),
    "postgres": set[str](),
    "kafka": set[str](),
    "observability": set[str](),
    "progress": {"kafka", "mysql", "postgres"},
    "ingest": {"contracts", "progress", "elasticsearch", "kafka", "observability", "privacy"},
    "rollup": {"contracts", "progress", "elasticsearch", "mysql", "postgres", "privacy", "observability"},
    "erasure": {"contracts", "elasticsearch", "kafka", "postgres", "privacy", "ingest", "rollup", "analytics"},
    "commands": {"contracts", "progress", "elasticsearch", "postgres"},
    "cost": {"postgres"},
    "fleet": {"contracts", "progress", "elasticsearch", "postgres"},
    "analytics": {"postgres", "rollup"},
    "reports": {"postgres", "rollup"},
    "cli": {
        "analytics",
        "contracts",
        "progress",
        "ingest",
        "rollup",
        "commands",
        "cost",
        "elasticsearch",
        "observability",
        "pipeline",
    }
    | {
        "erasure",
        "lint",
        "document_sources",
        "command_attempts",
        "diagnosis",
        "suspects",
        "raw_days",
        "reports",
        "following",
        "following_sources",
    },
}

INGEST = {
    "read": set[str](),
    "indices": set[str](),
    "check": {"read", "indices"},
    "deadletters": {"read", "check"},
    "deliver": {"read", "indices", "check", "deadletters"},
    "operate": {"read", "indices", "check", "deadletters", "deliver"},
}
"""Within ingest; besides these, all may use what lies beside the folders (consumer, consumer_metrics, stopping)."""

ROLLUP = {
    "definitions": set[str](),
    "sketches": set[str](),
    "plan": {"definitions"},
    "sources": {"definitions", "sketches"},
    "store": {"definitions", "sketches", "plan", "sources"},
    "execute": {"definitions", "sketches", "plan", "sources", "store"},
    "metric_tests": {"definitions", "sketches", "plan", "sources", "store", "execute"},
    "operating": {"definitions", "sketches", "plan", "sources", "store", "execute", "metric_tests"},
}
"""Within the rollup; besides these, all may use what lies beside the folders (spans, windows, values)."""


@functools.cache
def imported(path: Path) -> frozenset[str]:
    found: set[str] = set()
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(found)


@pytest.mark.parametrize("part", sorted(MAY_IMPORT))
def test_a_part_imports_only_what_lies_below_it(part: str) -> None:
    modules = sorted((ENGINE / part).rglob("*.py"))
    assert modules
    parts = {path.stem for path in ENGINE.iterdir() if not path.name.startswith("_")}
    allowed = MAY_IMPORT[part] | FOUNDATION | {part}
    for path in modules:
        used = {name.split(".")[1] for name in imported(path) if name.startswith("fleetgauge.")} & parts
        assert used <= allowed, f"{path.relative_to(ROOT)} imports {sorted(used - allowed)}"


FOLDERS = {("rollup", folder): below for folder, below in ROLLUP.items()} | {
    ("ingest", folder): below for folder, below in INGEST.items()
}


@pytest.mark.parametrize(("part", "folder"), sorted(FOLDERS))
def test_a_folder_of_a_part_imports_only_what_lies_below_it(part: str, folder: str) -> None:
    modules = sorted((ENGINE / part / folder).rglob("*.py"))
    assert modules
    of_part = {path.parent.name for path in (ENGINE / part).glob("*/__init__.py")}
    allowed = FOLDERS[part, folder] | {folder}
    for path in modules:
        used = {name.split(".")[2] for name in imported(path) if name.startswith(f"fleetgauge.{part}.")} & of_part
        assert used <= allowed, f"{path.relative_to(ROOT)} imports {sorted(used - allowed)}"


@pytest.mark.parametrize("part", ["ingest", "rollup"])
def test_the_folders_of_a_part_are_all_of_them(part: str) -> None:
    assert {path.parent.name for path in (ENGINE / part).glob("*/__init__.py")} == {f for p, f in FOLDERS if p == part}


def test_a_plan_is_made_without_any_connection() -> None:
    """It knows definitions and plain values, and neither a driver nor a clock nor the settings."""
    beside = {ENGINE / "rollup" / f"{name}.py" for name in ("spans", "values", "windows")}
    allowed = (
        "fleetgauge.errors",
        "fleetgauge.rollup.definitions",
        "fleetgauge.rollup.plan",
        *(f"fleetgauge.rollup.{p.stem}" for p in beside),
    )
    for path in sorted({*(ENGINE / "rollup" / "plan").glob("*.py"), *beside}):
        used = [name for name in sorted(imported(path)) if name.split(".")[0] in ("fleetgauge", "psycopg", "structlog")]
        assert [name for name in used if not name.startswith(allowed)] == [], path.relative_to(ROOT)


def test_what_executes_does_not_plan() -> None:
    """One way: observe, plan, execute. Only what puts them together knows the planner as a function."""
    execute = ENGINE / "rollup" / "execute"
    for path in sorted(execute.glob("*.py")):
        names = imported(path)
        assert path.stem == "engine" or "fleetgauge.rollup.plan.planner.plan" not in names, path.relative_to(ROOT)
        assert path.stem == "metrics_run" or "fleetgauge.rollup.execute.engine" not in names, path.relative_to(ROOT)
    assert len((execute / "engine.py").read_text("utf-8").splitlines()) <= 300


def test_the_engine_knows_neither_the_laboratory_nor_airflow() -> None:
    for path in sorted(ENGINE.rglob("*.py")):
        roots = {name.split(".")[0] for name in imported(path)}
        assert not roots & {"fleetlab", "airflow"}, path.relative_to(ROOT)


def test_the_simulator_does_not_use_what_it_is_to_judge() -> None:
    for path in sorted((ROOT / "src" / "fleetlab" / "simulator").rglob("*.py")):
        used = {name.split(".")[1] for name in imported(path) if name.startswith("fleetgauge.")}
        assert used <= {"errors", "clock"}, path.relative_to(ROOT)


CLIENTS = {
    "postgres": {"psycopg"},
    "elasticsearch": {"elasticsearch", "elastic_transport"},
    "kafka": {"kafka", "aiokafka"},
}
"""The only part that imports the client of a server, from which the others take what they need of it."""


@pytest.mark.parametrize(("room", "client"), [(room, one) for room, many in CLIENTS.items() for one in sorted(many)])
def test_a_client_is_imported_in_its_servers_room_alone(room: str, client: str) -> None:
    users = {
        path.relative_to(ENGINE).parts[0]
        for path in ENGINE.rglob("*.py")
        if client in {name.split(".")[0] for name in imported(path)}
    }
    assert users == {room}


def test_private_parts_of_kafkas_clients_are_touched_in_one_file_alone() -> None:
    """`internals` names them, and a test of its own fails when a new version has moved them."""
    public, private = {"kafka", "kafka.admin", "kafka.errors"}, {"kafka", "aiokafka"}
    for path in sorted({*ENGINE.rglob("*.py")} - {ENGINE / "kafka" / "internals.py"}):
        nodes = nodes_of(path)
        modules = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
        modules |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        assert {name for name in modules if name.split(".")[0] in private} <= public, path.relative_to(ROOT)
        if any(name.startswith("fleetgauge.kafka") for name in modules):
            of_others = [
                ast.unparse(node)
                for node in nodes
                if isinstance(node, ast.Attribute)
                and re.match(r"_[^_]", node.attr)
                and ast.unparse(node.value) != "self"
            ]
            assert of_others == [], path.relative_to(ROOT)


def test_nothing_that_is_decided_at_run_time_rests_on_an_assertion() -> None:
    """`python -O` leaves them out."""
    found = [
        f"{path.relative_to(ENGINE)}:{node.lineno}"
        for path in sorted(ENGINE.rglob("*.py"))
        for node in nodes_of(path)
        if isinstance(node, ast.Assert)
    ]
    assert not found
