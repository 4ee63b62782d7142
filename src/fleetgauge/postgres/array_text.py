"""Arrays as Postgres reads them: written at once, since the driver looks at each value by itself, which takes long."""

from collections.abc import Iterable
from datetime import datetime


def array_text(values: Iterable[str | int | datetime]) -> str:
    """The text of a one-dimensional array without NULLs, to be cast to its type by whoever uses it."""
    texts = [str(value) for value in values]
    plain = "".join(texts)
    if "\\" in plain or '"' in plain:
        texts = [text.replace("\\", "\\\\").replace('"', '\\"') for text in texts]
    quoted = '","'.join(texts)
    return f'{{"{quoted}"}}' if texts else "{}"
