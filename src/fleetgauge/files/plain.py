"""Pydantic's findings about a content file in the words of who wrote it: what stands there, and what may."""

import difflib
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any

_KINDS = {
    "dict_type": "a mapping, such as `name: value`",
    "dataclass_type": "a mapping, such as `name: value`",
    "model_type": "a mapping, such as `name: value`",
    "mapping_type": "a mapping, such as `name: value`",
    "list_type": "a list, such as [a, b]",
    "string_type": "a text",
    "string_sub_type": "a text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a smaller whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "decimal_type": "a number",
    "decimal_parsing": 'a number in quotes, such as "0.25"',
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "datetime_type": "an instant, such as 2026-11-21T14:00:00+09:00",
    "datetime_parsing": "an instant, such as 2026-11-21T14:00:00+09:00",
    "datetime_from_date_parsing": "an instant, such as 2026-11-21T14:00:00+09:00",
    "datetime_object_invalid": "an instant, such as 2026-11-21T14:00:00+09:00",
    "timezone_aware": "an instant with its offset from UTC, such as 2026-11-21T14:00:00+09:00",
    "path_type": "the path of a file",
}
_LIMITS = {
    "greater_than_equal": ("ge", "must be at least {}"),
    "greater_than": ("gt", "must be more than {}"),
    "less_than_equal": ("le", "must be at most {}"),
    "less_than": ("lt", "must be less than {}"),
    "string_too_long": ("max_length", "has more than {} characters; shorten it"),
    "string_too_short": ("min_length", "has fewer than {} characters; write it out"),
    "too_short": ("min_length", "has fewer than {} entries; add one"),
    "too_long": ("max_length", "has more than {} entries; remove one"),
    "decimal_max_digits": ("max_digits", "has more than {} digits; shorten it"),
    "decimal_max_places": ("decimal_places", "has more than {} digits after the point; round it"),
    "decimal_whole_digits": ("whole_digits", "has more than {} digits before the point; correct it"),
}


def shown(value: object) -> str:
    """A value as the file has it, shortened."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case datetime() | date():
            return value.isoformat()
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case str():
            text = repr(value)
        case _:
            text = str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean …?` for the likeliest of `known`, or nothing."""
    found = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def said(error: Mapping[str, Any], *, secret: bool = False) -> str:
    """What one of `ValidationError.errors()` means. `secret`: never say the value that was given."""
    kind, given, context = error["type"], error.get("input"), error.get("ctx", {})
    if kind in ("missing", "missing_argument"):
        return "is missing; add it"
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return "is not a known key; remove it"
    if kind in _KINDS:
        return f"write {_KINDS[kind]}" if secret else f"is {shown(given)}; write {_KINDS[kind]}"
    if kind in _LIMITS:
        name, words = _LIMITS[kind]
        found = words.format(context.get(name, "what is allowed"))
        return found if secret or not isinstance(given, int | float) else f"is {shown(given)}; it {found}"
    if kind in ("literal_error", "enum"):
        expected = str(context.get("expected", "")).replace("'", "").replace(" or ", ", ")
        near = "" if secret else nearest(str(given), expected.split(", "))
        return f"write one of {expected}" if secret else f"{shown(given)} is unknown{near}; write {expected}"
    if kind == "value_error":
        return str(error["msg"]).removeprefix("Value error, ")
    return "does not fit; correct it" if secret else f"{shown(given)} does not fit here; correct it"
