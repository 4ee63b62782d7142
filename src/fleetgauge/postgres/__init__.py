"""Postgres: how we connect, and what each of its errors means.

No other module imports the driver. What others need of its vocabulary (types for signatures, composition of SQL, the
classes of single errors) stands here.
"""

from psycopg import Connection, Cursor, Error, IsolationLevel, Transaction, errors, sql
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb
from psycopg.types.multirange import TimestamptzMultirange

from fleetgauge.postgres.array_text import array_text
from fleetgauge.postgres.database import APPLICATION, Database, metrics, only_row, owner, source
from fleetgauge.postgres.postgres_in_time import AnswersInTime
from fleetgauge.postgres.raw_arrays import raw_arrays

__all__ = [
    "APPLICATION",
    "AnswersInTime",
    "Connection",
    "Cursor",
    "Database",
    "Error",
    "IsolationLevel",
    "Jsonb",
    "TimestamptzMultirange",
    "Transaction",
    "array_text",
    "class_row",
    "dict_row",
    "errors",
    "metrics",
    "only_row",
    "owner",
    "raw_arrays",
    "source",
    "sql",
]
