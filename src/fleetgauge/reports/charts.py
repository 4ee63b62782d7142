"""The charts of a report: Vega-Lite specifications over the report's own rows, drawn as SVG.

SVG and no script: a page of them is small, prints, and cannot fail in a browser. Texts and lines are drawn in colours
that stand for nothing else (`INK`), which the page's style sheet exchanges where the screen is dark.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import vl_convert

from fleetgauge.reports.said import written

Spec = dict[str, Any]
Data = Sequence[Mapping[str, Any]]

INK: Mapping[str, str] = {"text": "#26303d", "muted": "#5d6878", "line": "#d9dee5"}
BLUE, RED, AMBER, GREEN, GREY = "#4c78a8", "#c8443c", "#d9822b", "#3f8f5f", "#8b95a3"
_FONT = "Helvetica, Arial, sans-serif"
WIDE, NARROW = 600, 320
"""Widths in pixels: of a desk's screen or paper, and of a phone."""
LIMIT = 0.05
"""Failure rate from which on the dashboards warn."""
_MOST_ROWS = 12


@dataclass(frozen=True)
class Chart:
    """One chart, drawn twice."""

    name: str
    title: str
    wide: str
    """SVG."""
    narrow: str
    marks: int
    """How many values it was drawn from; a chart of none is not made."""


@dataclass(frozen=True)
class _Made:
    title: str
    data: Data
    spec: Spec
    height: int | None = None
    """None: by the number of rows."""


def charts(report: dict[str, Any], names: Sequence[str]) -> list[Chart]:
    """Draw those of these charts that have something to show; takes some tenths of a second each."""
    drawn = []
    number = count()
    for name in names:
        made = CHARTS[name](report)
        if made is not None and made.data:
            drawn.append(
                Chart(
                    name,
                    made.title,
                    _svg(made, WIDE, f"{name}{next(number)}"),
                    _svg(made, NARROW, f"{name}{next(number)}"),
                    len(made.data),
                )
            )
    return drawn


def _svg(made: _Made, width: int, prefix: str) -> str:
    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "width": width,
        **({} if made.height is None else {"height": made.height}),
        "autosize": {"type": "fit-x", "contains": "padding"},
        "data": {"values": [*made.data]},
        "config": _CONFIG if width == WIDE else {**_CONFIG, "legend": {**_CONFIG["legend"], "columns": 2}},
        **made.spec,
    }
    drawn: str = vl_convert.vegalite_to_svg(spec, vl_version="6.4")
    # ids must be unique on the page; the size is the page's matter
    drawn = drawn.replace('id="', f'id="{prefix}-').replace("url(#", f"url(#{prefix}-")
    return drawn.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)


_CONFIG: Spec = {
    "aria": False,
    "background": None,
    "padding": {"left": 16, "right": 10, "top": 4, "bottom": 4},
    "font": _FONT,
    "view": {"stroke": None, "step": 22},
    "axis": {
        "labelColor": INK["muted"],
        "titleColor": INK["muted"],
        "gridColor": INK["line"],
        "domainColor": INK["line"],
        "tickColor": INK["line"],
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "labelLimit": 130,
    },
    # a browser's font may be wider than the one that was measured with
    "axisTemporal": {"labelOverlap": "greedy", "labelSeparation": 16},
    "axisXQuantitative": {"labelOverlap": "greedy", "labelSeparation": 12},
    "legend": {
        "labelColor": INK["muted"],
        "labelFontSize": 11,
        "title": None,
        "orient": "bottom",
        "columns": 4,
        "symbolSize": 60,
        "labelLimit": 120,
    },
    "text": {"color": INK["text"], "fontSize": 11},
    "bar": {"color": BLUE},
}
_PERCENT = {"format": ".0%", "title": None, "tickCount": 5}
_SHORT = {"format": "~s", "title": None, "tickCount": 5}


def _when(report: dict[str, Any]) -> Spec:
    """An axis of time, in the report's own zone whatever the machine's."""
    hours = report["range"]["grain"] == "hour"
    axis = {"title": None, "grid": False, "format": "%d %b %H:%M" if hours else "%d %b", "labelFlush": True}
    return {
        "field": "at",
        "type": "temporal",
        "scale": {"type": "utc"},
        "axis": {**axis, "tickCount": 5},
    }


def _local(rows: Data) -> list[dict[str, Any]]:
    """Instants as the wall clock shows them, given to Vega as if they were UTC, which it draws."""
    return [{**row, "at": f"{row['at'][:19]}Z"} for row in rows]


def _cost_over_time(report: dict[str, Any]) -> _Made:
    return _Made(
        "Cost over time, KRW",
        _local(report["commands"]["cost_points"]),
        {
            "mark": {"type": "bar", "width": {"band": 0.86}},
            "encoding": {
                "x": {
                    **_when(report),
                    "timeUnit": "utcyearmonthdatehours" if report["range"]["grain"] == "hour" else "utcyearmonthdate",
                },
                "y": {"field": "cost", "type": "quantitative", "aggregate": "sum", "axis": _SHORT},
                "color": {"field": "command_type", "type": "nominal", "scale": {"scheme": "tableau10"}},
            },
        },
        200,
    )


def _cost_by_command(report: dict[str, Any]) -> _Made:
    rows = report["commands"]["costliest"]
    return _Made(
        "Cost by command and carrier, KRW",
        [one for one in rows if one["cost"] > 0],
        {
            "mark": "bar",
            "encoding": {
                "y": {"field": "command_type", "type": "nominal", "sort": "-x", "axis": {"title": None}},
                "x": {"field": "cost", "type": "quantitative", "aggregate": "sum", "axis": _SHORT},
                "color": {
                    "field": "carrier",
                    "type": "nominal",
                    "scale": {"range": ["#4c78a8", "#72b7b2", "#f2a65a", "#b279a2", "#9ecae9", "#8b95a3"]},
                },
            },
        },
    )


def _failure_over_time(report: dict[str, Any]) -> _Made:
    rows = [
        {**one, "rate": one["unsuccessful"] / one["requested"], "limit": LIMIT}
        for one in report["commands"]["rate_points"]
        if one["requested"]
    ]
    return _Made(
        f"Failure rate over time; the line is the limit of {written('percent', LIMIT)}",
        _local(rows),
        {
            "layer": [
                {
                    "mark": {"type": "rule", "color": RED, "strokeDash": [4, 4]},
                    "encoding": {"y": {"field": "limit", "type": "quantitative", "aggregate": "max"}},
                },
                {
                    "mark": {
                        "type": "line",
                        "color": BLUE,
                        "strokeJoin": "round",
                        "point": {"size": 22, "color": BLUE},
                    },
                    "encoding": {
                        "x": _when(report),
                        "y": {"field": "rate", "type": "quantitative", "axis": _PERCENT, "scale": {"zero": True}},
                    },
                },
            ]
        },
        200,
    )


def _dots(rows: Data, name: str, middle: str, axis: Spec, colour: Spec) -> Spec:
    """A dot with its interval for each row, in the order given."""
    y = {"field": name, "type": "nominal", "sort": [one[name] for one in rows], "axis": {"title": None}}
    return {
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 2},
                "encoding": {
                    "y": y,
                    "x": {"field": "low", "type": "quantitative", "axis": axis},
                    "x2": {"field": "high"},
                    "color": colour,
                },
            },
            {
                "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
                "encoding": {"y": y, "x": {"field": middle, "type": "quantitative"}, "color": colour},
            },
        ]
    }


def _failure_by_command(report: dict[str, Any]) -> _Made:
    rows = report["commands"]["rates"][:_MOST_ROWS]
    return _Made(
        "Failure rate by command, with its 95 % interval",
        rows,
        _dots(rows, "command_type", "rate", _PERCENT, {"value": BLUE}),
    )


def _firmware_differences(report: dict[str, Any]) -> _Made:
    rows = [
        {**one, "pair": f"{one['firmware']} against {one['before']}", "none": 0}
        for one in report["firmware"]["comparisons"]
        if one["scope"] == "all"
    ][:_MOST_ROWS]
    verdicts = {"worse": RED, "better": GREEN, "not sure": GREY, "too few": "#c3cad3"}
    colour = {
        "field": "verdict",
        "type": "nominal",
        "scale": {"domain": [*verdicts], "range": [*verdicts.values()]},
    }
    axis = {**_PERCENT, "format": "+.0%"}
    spec = _dots(rows, "pair", "difference", axis, colour)
    zero = {
        "mark": {"type": "rule", "color": GREY, "strokeDash": [4, 4]},
        "encoding": {"x": {"field": "none", "type": "quantitative", "aggregate": "max"}},
    }
    return _Made(
        "Failure rate against the version before, with its 95 % interval", rows, {"layer": [zero, *spec["layer"]]}
    )


def _firmware_by_model(report: dict[str, Any]) -> _Made:
    rows = [{**one, "label": written("percent", one["rate"])} for one in report["firmware"]["by_model"]]
    versions = [one["firmware"] for one in report["firmware"]["versions"]]
    highest = max([0.1, *(one["rate"] for one in rows)])
    axes = {
        "y": {"field": "vehicle_model", "type": "nominal", "axis": {"title": None, "domain": False, "ticks": False}},
        "x": {
            "field": "firmware",
            "type": "nominal",
            "sort": versions,
            "axis": {
                "title": None,
                "orient": "top",
                "labelAngle": 0 if len(versions) < 7 else -60,
                "domain": False,
                "ticks": False,
            },
        },
    }
    shade = {
        "field": "rate",
        "type": "quantitative",
        "scale": {"domain": [0, highest], "range": ["#eef2f6", "#f3c9a5", "#c8443c"], "interpolate": "rgb"},
        "legend": None,
    }
    cells: Spec = {"mark": {"type": "rect", "cornerRadius": 3}, "encoding": {**axes, "color": shade}}
    layers = [cells]
    if len(versions) <= 6:
        dark = {"condition": {"test": f"datum.rate > {0.75 * highest}", "value": "#ffffff"}, "value": "#1b222c"}
        label = {"field": "label", "type": "nominal"}
        layers.append({"mark": {"type": "text"}, "encoding": {**axes, "text": label, "color": dark}})
    return _Made("Failure rate by firmware and model", rows, {"layer": layers, "height": {"step": 34}})


def _bars(name: str, value: str) -> Spec:
    return {
        "mark": "bar",
        "encoding": {
            "y": {"field": name, "type": "nominal", "sort": "-x", "axis": {"title": None}},
            "x": {"field": value, "type": "quantitative", "axis": _SHORT},
        },
    }


def _vehicle_states(report: dict[str, Any]) -> _Made:
    rows = report["fleet"]["states"]
    return _Made("Vehicles by state, on average", rows, _bars("vehicle_state", "vehicles"))


def _rentals_over_time(report: dict[str, Any]) -> _Made:
    return _Made(
        "Rentals over time",
        _local(report["business"]["points"]),
        {
            "mark": {"type": "bar", "width": {"band": 0.86}},
            "encoding": {
                "x": {
                    **_when(report),
                    "timeUnit": "utcyearmonthdatehours" if report["range"]["grain"] == "hour" else "utcyearmonthdate",
                },
                "y": {"field": "started", "type": "quantitative", "axis": _SHORT},
            },
        },
        200,
    )


def _revenue_by_zone(report: dict[str, Any]) -> _Made:
    rows = [one for one in report["business"]["zones"] if one["revenue"] > 0]
    return _Made("Revenue by zone, KRW", rows[:20], _bars("name", "revenue"))


CHARTS: Mapping[str, Callable[[dict[str, Any]], _Made]] = {
    "cost_over_time": _cost_over_time,
    "cost_by_command": _cost_by_command,
    "failure_over_time": _failure_over_time,
    "failure_by_command": _failure_by_command,
    "firmware_differences": _firmware_differences,
    "firmware_by_model": _firmware_by_model,
    "vehicle_states": _vehicle_states,
    "rentals_over_time": _rentals_over_time,
    "revenue_by_zone": _revenue_by_zone,
}
