"""Names and constants as text of a statement, as MariaDB and MySQL read it in our sessions (`mysql_database.MODE`)."""

from datetime import UTC, datetime

from pymysql.converters import escape_string


def quoted(name: str) -> str:
    """A name in backticks."""
    return f"`{name.replace('`', '``')}`"


def literal(value: bool | int | float | str | datetime) -> str:
    """A constant. A number of floating type stays one; an aware instant is told in UTC, as our sessions tell them."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        text = repr(value)
        return text if "e" in text else f"{text}e0"  # else it would be a DECIMAL
    if isinstance(value, datetime):
        at = value.astimezone(UTC).replace(tzinfo=None)
        return f"TIMESTAMP'{at.isoformat(' ', 'microseconds')}'"
    return f"'{escape_string(value)}'"
