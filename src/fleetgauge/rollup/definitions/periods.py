"""Lengths of time and time zones as a definition or a command names them."""

import contextlib
import re
from datetime import date, datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, PlainSerializer

from fleetgauge.files.plain import shown

LONGEST = timedelta(days=100 * 365)
"""No time that a definition or a command names is longer."""

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "y": 365 * 86400}


def _duration(value: object) -> object:
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"([0-9]+)(ms|s|m|h|d|y)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{shown(value)} is not a duration; write a number and ms, s, m, h, d or y, such as 30s")
    if len(match[1]) > 15 or int(match[1]) * _UNITS[match[2]] > LONGEST.total_seconds():
        raise ValueError(f"{shown(value)} is longer than {LONGEST.days // 365} years; write a shorter time")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def _day(value: object) -> object:
    found = value
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        with contextlib.suppress(ValueError):
            found = date.fromisoformat(value)
    if not isinstance(found, date) or isinstance(found, datetime):
        raise ValueError(f"{shown(value)} is not a date; write one such as 2015-01-01")
    if not date(1900, 1, 1) <= found <= date(2200, 1, 1):
        raise ValueError(f"{found} is not between 1900-01-01 and 2200-01-01; write a date that is")
    return found


def _zone(value: object) -> object:
    try:
        ZoneInfo(value if isinstance(value, str) else "")
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{shown(value)} is not an IANA time zone; write one such as Asia/Seoul") from None
    return value


def _offset(value: object) -> object:
    match = re.fullmatch(r"UTC|[+-](0\d|1[0-4]):([0-5]\d)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(
            f'{shown(value)} is not UTC or an offset such as "+09:00", in quotes; a zone whose clocks change has an '
            "hour that no such column can tell apart"
        )
    return value


def offset_minutes(offset: str | None) -> int:
    """Minutes that a clock of this offset is ahead of UTC."""
    if offset is None or offset == "UTC":
        return 0
    minutes = int(offset[1:3]) * 60 + int(offset[4:6])
    return -minutes if offset[0] == "-" else minutes


Period = Annotated[
    timedelta,
    BeforeValidator(_duration, json_schema_input_type=Annotated[str, Field(pattern=r"^\d+(ms|s|m|h|d|y)$")]),
    PlainSerializer(lambda span: f"{span // timedelta(milliseconds=1)}ms", return_type=str, when_used="json"),
]
TimeZone = Annotated[str, BeforeValidator(_zone)]
Offset = Annotated[str, BeforeValidator(_offset)]
"""`UTC`, or how far ahead of it a clock is that never changes: `+09:00`."""
Day = Annotated[
    date,
    BeforeValidator(_day, json_schema_input_type=Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]),
]
