"""The SQL behind a generated dashboard, expanded as Grafana would, so that tests and the demo can run every query.

Needs the standard library alone and imports nothing of this package, so that it can be loaded from anywhere.
Grafana works in two steps: the browser replaces variables (`$name`, `${name:format}`), then the server replaces macros
(`$__timeFilter(column)`). The second sees only what the first left over, and so it is here.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

Value = str | Sequence[str]
"""What a viewer chose: one value, or several. `"$__all"` stands for All."""

ALL = "$__all"

_VARIABLE = re.compile(r"\$(\w+)|\$\{(\w+)(?::([^}]+))?\}")
_MACRO = re.compile(r"\$(\w+)\(([^)]*)\)")
_INTERVAL = re.compile(r"(\d+)(s|m|h|d)")
_STRETCH = re.compile(r"\$\{stretch_\w+\}")
"""Ends a title with the stretch that is summed, where it is not the time range."""
_POINTS = ("bucket", "sample", "each")
"""Variables of how wide a point of a chart is."""
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class DashboardError(Exception):
    """A query that Grafana would refuse: an unknown macro, format or variable."""


@dataclass(frozen=True)
class DashboardQuery:
    """One query, ready to run."""

    dashboard: str
    """The dashboard's uid."""
    kind: Literal["panel", "variable", "annotation"]
    name: str
    """Title of the panel, or name of the variable or annotation."""
    ref_id: str
    format: str
    """`time_series` or `table`."""
    sql: str
    raw_sql: str
    """As written in the dashboard, before anything was replaced."""


def dashboard_queries(
    dashboard: Mapping[str, Any],
    variables: Mapping[str, Value],
    time_from: datetime,
    time_to: datetime,
) -> list[DashboardQuery]:
    """Every query of a dashboard: its panels', its variables' and its annotations'. Times are aware.

    `variables` overrides what the dashboard has chosen by itself. The hidden variable `grain` is not computed from the
    range: ask `settled`, or say `{"grain": "minute"}`; a point is then one window. Raises `DashboardError`.
    """
    chosen = {one["name"]: one for one in dashboard["templating"]["list"]}
    unknown = set(variables) - set(chosen)
    if unknown:
        raise DashboardError(
            f"dashboard {dashboard['uid']} has no variable {', '.join(sorted(unknown))}; it has {', '.join(chosen)}"
        )
    if "grain" in variables:
        points = {name: variables["grain"] for name in _POINTS if name in chosen}
        variables = {**points, **variables}
    found = []
    for kind, name, ref_id, query_format, raw in _raw_queries(dashboard):
        try:
            sql = expand(raw, chosen, variables, time_from, time_to)
        except DashboardError as error:
            raise DashboardError(f"{kind} {name!r} of dashboard {dashboard['uid']}: {error}") from None
        found.append(DashboardQuery(dashboard["uid"], kind, name, ref_id, query_format, sql, raw))
    return found


def settled(
    dashboard: Mapping[str, Any],
    variables: Mapping[str, Value],
    time_from: datetime,
    time_to: datetime,
    ask: Callable[[str], str],
) -> dict[str, Value]:
    """`variables` with the hidden ones that Grafana computes from them, in their order; `ask`: runs SQL of one text."""
    chosen = {one["name"]: one for one in dashboard["templating"]["list"]}
    found: dict[str, Value] = dict(variables)
    for name, one in chosen.items():
        if one["type"] == "query" and one.get("hide") and name not in variables:
            found[name] = ask(expand(one["query"], chosen, found, time_from, time_to))
    return found


def panel_queries(
    dashboard: Mapping[str, Any],
    variables: Mapping[str, Value],
    time_from: datetime,
    time_to: datetime,
) -> list[DashboardQuery]:
    """The queries of the panels alone: those that must return rows for no panel to say "No data"."""
    return [query for query in dashboard_queries(dashboard, variables, time_from, time_to) if query.kind == "panel"]


def may_be_empty(dashboard: Mapping[str, Any]) -> set[str]:
    """Names of the panels whose emptiness is an answer: they say "none" in place of a value."""
    said = ((panel, panel.get("fieldConfig", {}).get("defaults", {}).get("noValue", "")) for panel in panels(dashboard))
    return {_STRETCH.sub("", panel["title"]) for panel, no_value in said if no_value.startswith("none")}


def panels(dashboard: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All panels, those inside of collapsed rows too, without the rows themselves."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels", [])
        else:
            yield panel


def expand(
    raw: str,
    known: Mapping[str, Mapping[str, Any]],
    variables: Mapping[str, Value],
    time_from: datetime,
    time_to: datetime,
) -> str:
    """`raw` with variables, then macros replaced. `known` are the dashboard's variables as in its JSON, by name."""

    def variable(match: re.Match[str]) -> str:
        name, form = match[1] or match[2], match[3]
        if name == "__from":
            return str(_milliseconds(time_from))
        if name == "__to":
            return str(_milliseconds(time_to))
        if name not in known:
            return match[0]  # a macro, or an error that the second step finds
        model = known[name]
        value = variables.get(name, model["current"]["value"])
        if value == ALL or (not isinstance(value, str) and list(value) == [ALL]):
            if not model.get("allValue"):
                raise DashboardError(f"variable {name} has no value for All; choose values")
            return str(model["allValue"])  # Grafana writes a custom All value as it is, whatever the format
        return _formatted(value, form, bool(model.get("multi") or model.get("includeAll")))

    sql = _MACRO.sub(lambda match: _macro(match, time_from, time_to), _VARIABLE.sub(variable, raw))
    left = re.search(r"\$\{?[A-Za-z_]\w*", sql)
    if left:
        raise DashboardError(f"{left[0]} is neither a variable of the dashboard nor a macro")
    return sql


def _raw_queries(
    dashboard: Mapping[str, Any],
) -> Iterator[tuple[Literal["panel", "variable", "annotation"], str, str, str, str]]:
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield "variable", variable["name"], variable["name"], "table", variable["query"]
    for annotation in dashboard["annotations"].get("list", []):
        target = annotation["target"]
        yield "annotation", annotation["name"], target["refId"], target["format"], target["rawSql"]
    for panel in panels(dashboard):
        for target in (one for one in panel.get("targets", []) if "rawSql" in one):  # others ask Prometheus
            yield "panel", _STRETCH.sub("", panel["title"]), target["refId"], target["format"], target["rawSql"]


def _formatted(value: Value, form: str | None, many: bool) -> str:
    values = [value] if isinstance(value, str) else list(value)
    if form == "sqlstring":  # Grafana escapes the double quote too
        return ",".join("'" + one.replace("'", "''").replace('"', '\\"') + "'" for one in values)
    if form == "raw":
        return ",".join(values)
    if form is not None:
        raise DashboardError(f"the format {form} is not supported here")
    if many:
        return ",".join("'" + one.replace("'", "''") + "'" for one in values)
    return values[0].replace("'", "''")


def _macro(match: re.Match[str], time_from: datetime, time_to: datetime) -> str:
    name, arguments = match[1], [one.strip() for one in match[2].split(",")]
    column = arguments[0]
    match name:
        case "__time":
            return f'{column} AS "time"'
        case "__timeFilter":
            return f"{column} BETWEEN '{_rfc3339(time_from)}' AND '{_rfc3339(time_to)}'"
        case "__timeFrom":
            return f"'{_rfc3339(time_from)}'"
        case "__timeTo":
            return f"'{_rfc3339(time_to)}'"
        case "__timeGroup" | "__timeGroupAlias":
            if len(arguments) < 2:
                raise DashboardError(f"{name} needs a column and an interval")
            parsed = _INTERVAL.fullmatch(arguments[1].strip("'"))
            if not parsed:
                raise DashboardError(f"{name} cannot read the interval {arguments[1]}")
            seconds = int(parsed[1]) * _SECONDS[parsed[2]]
            group = f"floor(extract(epoch from {column})/{seconds})*{seconds}"
            return group if name == "__timeGroup" else f'{group} AS "time"'
        case _:
            raise DashboardError(f"unknown macro {name!r}")


def _milliseconds(instant: datetime) -> int:
    return round(instant.timestamp() * 1000)


def _rfc3339(instant: datetime) -> str:
    utc = instant.astimezone(UTC)
    fraction = f"{utc.microsecond:06d}".rstrip("0")
    return utc.strftime("%Y-%m-%dT%H:%M:%S") + (f".{fraction}" if fraction else "") + "Z"
