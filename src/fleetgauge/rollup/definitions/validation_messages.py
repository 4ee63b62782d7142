"""What pydantic finds in a `metric.yaml`, in the words of who wrote it, and the path of the key that it is about."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

from fleetgauge.files import plain
from fleetgauge.rollup.definitions.definition import NAME_LENGTH, SUBSET_LENGTH, Definition
from fleetgauge.rollup.definitions.measures import IDENTIFIER_LENGTH, MEASURES, Comparison
from fleetgauge.rollup.definitions.parts import Misfit

IN_FILES = {"source_sql", "views_sql"}
"""What a definition has from the files beside its own."""
OUTSIDE = {"distinct_key": "rollup.distinct_key of the settings", "lines": "the file itself"}
"""What it has from elsewhere, and from where."""

_NOT_MERGEABLE = {"avg", "average", "mean", "median", "stddev", "variance", "mode"}
_KINDS = ", ".join(MEASURES)

Path = tuple[int | str, ...]


def messages(error: Any) -> Iterator[tuple[Path, str]]:
    """One of `ValidationError.errors()`: the path of the key, and path and words as they are shown."""
    loc = error["loc"]
    misfit = error.get("ctx", {}).get("error")
    if isinstance(misfit, Misfit):
        for path, said in misfit.problems:
            where = _location((*loc, *path))
            yield (*loc, *path), f"{where}: {said}" if where else said
        return
    where, what = _location(loc), _said(error)
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        where = _location(loc[:-1])
    yield loc, f"{where}: {what}" if where else what


def _said(error: Any) -> str:
    kind, given = error["type"], error["input"]
    if kind == "union_tag_invalid":
        agg = given.get("agg") if isinstance(given, dict) else given
        if isinstance(agg, str) and (agg in _NOT_MERGEABLE or agg.startswith(("p5", "p9", "quantile"))):
            return (
                f"agg {agg!r} cannot be merged into hours and days; declare a percentile, or a sum, a count and a ratio"
            )
        return f"agg {plain.shown(agg)} is unknown{plain.nearest(str(agg), MEASURES)}; write {_KINDS}"
    if kind == "union_tag_not_found":
        return f"agg is missing; write {_KINDS}"
    if error["loc"][:1] == ("measures",) and len(error["loc"]) == 2 and kind.endswith("_type"):
        return f"is {plain.shown(given)}; write a mapping, such as {{agg: count}}"
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        key = str(error["loc"][-1])
        near = plain.nearest(key, _known_keys(error["loc"][:-1]))
        return f"{key!r} is not a known key{near}" + (
            "; in { } a text with a comma needs quotes" if given is None else "" if near else "; remove it"
        )
    if kind == "string_pattern_mismatch":
        return (
            f"{plain.shown(given)} is not an identifier: lower-case letters, digits and _, beginning with a letter, "
            f"up to {_longest(error['loc'])}; rename it"
        )
    return plain.said(error)


def _longest(loc: Path) -> int:
    """How long the identifier may be that stands, or is missing, at a path."""
    if loc == ("metric",):
        return NAME_LENGTH
    return SUBSET_LENGTH if loc[:1] == ("rollups",) and loc[-1] == "[key]" else IDENTIFIER_LENGTH


def _known_keys(loc: Path) -> set[str]:
    """The keys that may stand in the mapping at `loc`."""
    if "comparison" in loc:
        owner: type = Comparison
    elif loc[:1] == ("measures",):
        owner = MEASURES.get(str(loc[2]) if len(loc) > 2 else "", Comparison)
    else:
        owner = (_part(get_type_hints(Definition).get(str(loc[0]))) if loc else None) or Definition
    return {one.name for one in fields(owner)} - IN_FILES - OUTSIDE.keys()


def _part(hint: Any) -> type | None:
    """The dataclass within a type such as `dict[str, Dimension]`."""
    if isinstance(hint, type) and is_dataclass(hint):
        return hint
    return next((found for one in get_args(hint) if (found := _part(one))), None)


def _location(loc: Path) -> str:
    """Pydantic's path without the names of the union members that it tried."""
    parts = [str(part) for part in loc if part != "[key]"]
    if parts[:1] == ["measures"] and parts[2:3] and parts[2] in MEASURES:
        del parts[2]
    where = 2 if parts[:1] == ["measures"] else 1
    if parts[where : where + 1] == ["where"] and parts[where + 2 : where + 3] and parts[where + 2] in _FORMS:
        del parts[where + 2]
    return ".".join(parts)


_FORMS = ("value", "list", "comparison")
