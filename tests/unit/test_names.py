"""A name says one thing: no two classes and no two modules of the package are called the same."""

import ast
from collections import defaultdict
from pathlib import Path

import fleetgauge

PACKAGE = Path(fleetgauge.__file__).parent
COMMANDS = PACKAGE / "cli"


def test_no_two_classes_have_the_same_name() -> None:
    found = defaultdict(list)
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert {name: files for name, files in found.items() if len(files) > 1} == {}


def test_no_two_modules_have_the_same_name_but_a_command_and_the_module_that_does_its_work() -> None:
    found = defaultdict(list)
    for path in PACKAGE.rglob("*.py"):
        if path.name != "__init__.py" and COMMANDS not in path.parents:
            found[path.name].append(str(path.relative_to(PACKAGE)))
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}
