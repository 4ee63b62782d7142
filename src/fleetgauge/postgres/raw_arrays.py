"""Arrays of whole numbers as the server sends them, for whoever reads very many at once."""

from typing import Any

import psycopg
from psycopg.adapt import Buffer, Loader
from psycopg.pq import Format

_BIGINTS = 1016
"""The type bigint[] in every Postgres."""


class _AsSent(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


def raw_arrays(cursor: psycopg.Cursor[Any]) -> psycopg.Cursor[Any]:
    """The cursor, which gives `bigint[]` of a binary answer as bytes from now on."""
    cursor.adapters.register_loader(_BIGINTS, _AsSent)
    return cursor
