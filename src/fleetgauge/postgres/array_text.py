"""Arrays as Postgres reads them: written at once, since the driver looks at each value by itself, which takes long."""

from collections.abc import Iterable
from datetime import datetime


def array_text(values: Iterable[str | int | datetime]) -> str:
    """The text of a one-dimensional array without NULLs, to be cast to its type by whoever uses it."""
    return f"{{{','.join(_quoted(str(value)) for value in values)}}}"


def _quoted(value: str) -> str:
    if "\\" in value or '"' in value:
        value = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{value}"'
