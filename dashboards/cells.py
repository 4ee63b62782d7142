"""How columns of tables look: overrides of their cells."""

from collections.abc import Mapping
from typing import Any, Literal

from grafana_foundation_sdk.models import dashboard as model

from dashboards.panels import CALM, Limits, colour, prop

WRAPPED = prop("custom.cellOptions", {"type": "auto", "wrapText": True})
"""For a column of sentences, which would else be cut at its edge."""


def worded(words: Mapping[tuple[float, float], tuple[str, str]]) -> model.DynamicConfigValue:
    """Text and colour in place of numbers: `{(from, to): (text, colour)}`."""
    ranges = [
        {"type": "range", "options": {"from": low, "to": high, "result": {"text": text, "color": shade, "index": at}}}
        for at, ((low, high), (text, shade)) in enumerate(words.items())
    ]
    return prop("mappings", ranges)


NO_VALUE = prop(
    "mappings",
    [{"type": "special", "options": {"match": "null", "result": {"text": "–", "color": "transparent", "index": 0}}}],
)
"""Else Grafana colours a cell without a value like the best one."""


def shaded(most: float) -> list[model.DynamicConfigValue]:
    """Cells that are the darker the higher they are, up to `most`: for what has no limit from which on it is bad."""
    return [
        prop("custom.cellOptions", {"type": "color-background", "mode": "basic"}),
        prop("color", {"mode": "continuous-reds"}),  # from the page's own colour: text stays readable in light and dark
        prop("min", 0),
        prop("max", most),
        NO_VALUE,
    ]


def coloured(limits: Limits, what: Literal["background", "text"] = "background") -> list[model.DynamicConfigValue]:
    """Cells whose background, or text, follows `limits`."""
    steps: list[Mapping[str, Any]] = [{"value": value, "color": name} for value, name in limits.steps()]
    return [
        prop("custom.cellOptions", {"type": f"color-{what}"} | ({"mode": "basic"} if what == "background" else {})),
        prop("color", {"mode": "thresholds"}),
        NO_VALUE,
        prop("thresholds", {"mode": "absolute", "steps": steps}),
    ]


def gauge_cell(most: float = 1) -> list[model.DynamicConfigValue]:
    """Cells that hold a bar, for shares; one of `most` fills its cell."""
    return [
        prop("custom.cellOptions", {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}),
        prop("unit", "percentunit"),
        prop("decimals", 1),
        prop("min", 0),
        prop("max", most),
        colour(CALM),
    ]


def number(unit: str, decimals: int | None = None) -> list[model.DynamicConfigValue]:
    """A column's unit."""
    found = [prop("unit", unit)]
    return found if decimals is None else [*found, prop("decimals", decimals)]
