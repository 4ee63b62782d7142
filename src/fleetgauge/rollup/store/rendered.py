"""Statements of a definition, rendered once: putting one together takes longer than it runs for a few changed rows."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from fleetgauge.postgres import sql
from fleetgauge.rollup.definitions.definition import Definition


class _OfDefinition(Protocol):
    @property
    def definition(self) -> Definition: ...


class _Key:
    """The same as another of the very same definition, which it keeps: definitions are not hashable."""

    def __init__(self, statements: _OfDefinition) -> None:
        self.statements = statements

    def __hash__(self) -> int:
        return id(self.statements.definition)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.statements.definition is self.statements.definition


_S = TypeVar("_S", bound=_OfDefinition)
_P = ParamSpec("_P")


def rendered_once(method: Callable[Concatenate[_S, _P], sql.Composed]) -> Callable[Concatenate[_S, _P], sql.SQL]:
    """Decorator of a method that depends on `definition` and its (hashable) arguments alone. Thread-safe."""

    @lru_cache(maxsize=256)
    def text(key: _Key, *args: Any, **options: Any) -> sql.SQL:
        compose: Callable[..., sql.Composed] = method
        return sql.SQL(compose(key.statements, *args, **options).as_string(None))

    @wraps(method)
    def call(self: _S, /, *args: _P.args, **options: _P.kwargs) -> sql.SQL:
        return text(_Key(self), *args, **options)  # type: ignore[arg-type]  # hashable, or it says so

    return call
