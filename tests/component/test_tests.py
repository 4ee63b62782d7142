"""Tests go through the public door, and each can fail."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from syntax import nodes_of, walked

TESTS = Path(__file__).parents[1]
FILES = sorted(TESTS.rglob("*.py"))
NAMED_TUPLE = {"_replace", "_asdict", "_make", "_fields"}
"""Public, whatever they look like."""
RAISES_NOTHING = {
    "test_every_document_is_strict_json",
    "test_even_without_a_checksum_damage_raises_nothing_else",
    "test_it_accepts_the_projects_metrics",
}
"""What they call raises where the law is broken."""


def private(path: Path) -> Iterator[str]:
    """Where a file reaches for what others keep to themselves."""
    for node in nodes_of(path):
        if isinstance(node, ast.Attribute) and re.match(r"_[^_]", node.attr) and node.attr not in NAMED_TUPLE:
            owner = ast.unparse(node.value)
            if owner not in ("self", "cls", "super()"):
                yield f"{path.relative_to(TESTS)}:{node.lineno}: {owner}.{node.attr}"
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if re.match(r"_[^_]", alias.name):
                    yield f"{path.relative_to(TESTS)}:{node.lineno}: {node.module}.{alias.name}"


def vain(path: Path) -> Iterator[str]:
    """Assertions that hold whatever happens."""
    for node in nodes_of(path):
        if not isinstance(node, ast.Assert):
            continue
        always = isinstance(node.test, ast.Tuple) and node.test.elts
        for part in ast.walk(node.test):
            if isinstance(part, ast.BoolOp) and isinstance(part.op, ast.Or):
                always = always or any(isinstance(one, ast.Constant) and one.value for one in part.values)
        if always or (isinstance(node.test, ast.Constant) and node.test.value):
            yield f"{path.relative_to(TESTS)}:{node.lineno}: {ast.unparse(node)}"


def outcome(node: ast.AST) -> tuple[bool, frozenset[str]]:
    """Whether there is an assertion, an expected error or a checked process; and the names of all that is called."""
    fails, called = False, set[str]()
    for part in walked(node):
        if isinstance(part, ast.Assert):
            fails = True
        elif isinstance(part, ast.Call):
            called.add(part.func.attr if isinstance(part.func, ast.Attribute) else getattr(part.func, "id", ""))
            fails |= any(word.arg == "check" and ast.unparse(word.value) == "True" for word in part.keywords)
    return fails or bool(called & {"raises", "fail", "warns"}), frozenset(called)


def can_fail(node: ast.AST, helpers: set[str]) -> bool:
    """Whether it does so itself, or calls a helper that does."""
    fails, called = outcome(node)
    return fails or bool(called & helpers)


def without_an_assertion() -> list[str]:
    functions = defaultdict(list)
    for path in FILES:
        for node in nodes_of(path):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                functions[node.name].append((path, *outcome(node)))
    helpers: set[str] = set()
    while more := {
        name
        for name, found in functions.items()
        if name not in helpers
        and not name.startswith("test_")
        and any(fails or called & helpers for _, fails, called in found)
    }:
        helpers |= more
    return [
        f"{path.relative_to(TESTS)}: {name}"
        for name, found in functions.items()
        for path, fails, called in found
        if name.startswith("test_") and name not in RAISES_NOTHING and not fails and not called & helpers
    ]


def test_no_test_reaches_for_private_parts() -> None:
    assert [line for path in FILES for line in private(path)] == []


def test_no_assertion_holds_whatever_happens() -> None:
    assert [line for path in FILES for line in vain(path)] == []


def test_every_test_can_fail() -> None:
    assert without_an_assertion() == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("thing._part", 1),
        ("self._part", 0),
        ("row._replace(a=1)", 0),
        ("from fleetgauge.lint import _check", 1),
        ("from __future__ import annotations", 0),
    ],
)
def test_private_parts_are_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, found: int) -> None:
    monkeypatch.setattr(f"{__name__}.TESTS", tmp_path)
    (tmp_path / "one.py").write_text(text)
    assert len(list(private(tmp_path / "one.py"))) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [("assert True", 1), ("assert (a, 'b')", 1), ("assert a or True", 1), ("assert a or b", 0), ("assert not ()", 0)],
)
def test_vain_assertions_are_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, found: int) -> None:
    monkeypatch.setattr(f"{__name__}.TESTS", tmp_path)
    (tmp_path / "one.py").write_text(text)
    assert len(list(vain(tmp_path / "one.py"))) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [("call()", False), ("assert a", True), ("helper()", True), ("run(x, check=True)", True), ("run(x)", False)],
)
def test_what_can_fail_is_seen(text: str, found: bool) -> None:
    assert can_fail(ast.parse(text), {"helper"}) is found
