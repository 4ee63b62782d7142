"""A name says one thing: no two classes and no two modules of the package are called the same."""

import ast
from collections import defaultdict
from pathlib import Path

import fleetgauge
from syntax import nodes_of

PACKAGE = Path(fleetgauge.__file__).parent
COMMANDS = PACKAGE / "cli"
REVISIONS = ("revision", "down_revision")


def test_no_two_classes_have_the_same_name() -> None:
    found = defaultdict(list)
    for path in PACKAGE.rglob("*.py"):
        for node in nodes_of(path):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert {name: files for name, files in found.items() if len(files) > 1} == {}


def test_no_two_modules_have_the_same_name_but_a_command_and_the_module_that_does_its_work() -> None:
    found = defaultdict(list)
    for path in PACKAGE.rglob("*.py"):
        if path.name != "__init__.py" and COMMANDS not in path.parents:
            found[path.name].append(str(path.relative_to(PACKAGE)))
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}


def test_migrations_stand_in_one_line_by_their_numbers() -> None:
    folder = PACKAGE / "rollup" / "store" / "migrations" / "versions"
    found = []
    for path in sorted(folder.glob("*.py")):
        names = {
            node.targets[0].id: ast.literal_eval(node.value)
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id in REVISIONS
        }
        found.append((path.name[:4], names["revision"], names["down_revision"]))
    numbers = [number for number, _, _ in found]
    assert found == list(zip(numbers, numbers, [None, *numbers[:-1]], strict=True))
    assert len({*numbers}) == len(numbers)
