"""A plan in words: lines for people, plain values for JSON, a few words for a log."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from fleetgauge.rollup.plan.planner import Plan
from fleetgauge.rollup.plan.request import BackfillRequest, OverflowRequest, ReconcileRequest, RunRequest
from fleetgauge.rollup.plan.stages import (
    Advance,
    Begin,
    ComputeCells,
    ComputeSpan,
    Forgo,
    KeepFrozen,
    NotePlaces,
    Publish,
    RollUp,
    Stage,
    TakeBack,
)
from fleetgauge.rollup.spans import MINUTE, Span, join
from fleetgauge.rollup.windows import count

SHOWN = 100
"""So many cells of a stage are told one by one."""


def windows(plan: Plan) -> int:
    """Minutes that it computes as a whole."""
    return sum(int((s.span[1] - s.span[0]) / MINUTE) for s in plan.stages if isinstance(s, ComputeSpan))


def summary(plan: Plan) -> dict[str, Any]:
    """For a log: what there is to do, in a few words."""
    found: dict[str, Any] = {"stages": [f"{type(s).__name__} ({s.reason}){_size(s)}" for s in plan.stages]}
    if plan.deferred is not None:
        found["refused" if plan.refused else "deferred"] = plan.deferred
    return found


def lines(plan: Plan) -> list[str]:
    """For people, a line a stage; instants in UTC, hours and days counted in the metric's own zone."""
    if plan.deferred is not None:
        return [f"{'refused' if plan.refused else 'deferred'}: {plan.deferred}"]
    found = [f"{_line(stage, plan.zone)}  [{stage.reason}]" for stage in plan.stages]
    found += [f"unknown: {what}" for what in plan.unknown]
    return found or ["nothing to do"]


def totals(plans: Iterable[Plan], before: Iterable[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """For the run log: by stage, reason and grain how many windows or cells, and the span that holds them (ISO 8601).

    In the order of their first; at most a few dozen, however long the plans are. `before`: totals of earlier plans,
    to be continued.
    """
    found = {(one["stage"], one["reason"], one.get("grain")): dict(one) for one in before}
    for plan in plans:
        for stage in plan.stages:
            grain = getattr(stage, "grain", None)
            name = type(stage).__name__
            fixed = {"stage": name, "reason": stage.reason} | ({"grain": grain} if grain else {})
            one = found.setdefault((name, stage.reason, grain), fixed)
            spans, counted = _extent(stage, plan.zone)
            for what, n in counted.items():
                one[what] = one.get(what, 0) + n
            begins, ends = [at.isoformat() for at, _ in spans], [at.isoformat() for _, at in spans]
            if spans:
                one["begin"] = min(begins + ([one["begin"]] if "begin" in one else []))
                one["end"] = max(ends + ([one["end"]] if "end" in one else []))
    return list(found.values())


def _extent(stage: Stage, zone: str) -> tuple[Sequence[Span], dict[str, int]]:
    match stage:
        case ComputeSpan(span=span, grain=grain) | RollUp(span=span, grain=grain):
            return [span], {"windows": count([span], grain, zone)}
        case ComputeCells(cells=cells):
            minutes = [window for window, _ in cells]
            return [(min(minutes), max(minutes) + MINUTE)], {"cells": len(cells)}
        case KeepFrozen(spans=spans, cells=cells):
            return spans, {"windows": count(spans, "minute", zone), "cells": len(cells)}
        case NotePlaces(rows=rows):
            return [], {"rows": len(rows)}
        case TakeBack(since=since):
            return [(since, since)], {}
        case _:
            return [], {}


def to_dict(plan: Plan) -> dict[str, Any]:
    """Plain values; instants as ISO 8601."""
    found: dict[str, Any] = _plain(
        {
            "metric": plan.metric,
            "version": plan.version,
            "time_zone": plan.zone,
            "request": {"kind": _kind(plan), **asdict(plan.request)},
            "deferred": plan.deferred,
            "refused": plan.refused,
            "unknown": plan.unknown,
            "source_watermark": plan.source_watermark,
            "computing_watermark": plan.computing_watermark,
            "closing_watermark": plan.closing_watermark,
            "stages": [{"stage": type(stage).__name__, **_fields(stage)} for stage in plan.stages],
        }
    )
    return found


def _kind(plan: Plan) -> str:
    match plan.request:
        case RunRequest():
            return "run"
        case BackfillRequest():
            return "backfill"
        case OverflowRequest():
            return "overflow"
        case ReconcileRequest():
            return "reconcile"


def _fields(stage: Stage) -> dict[str, Any]:
    found = asdict(stage)
    for name in ("cells", "rows", "moved"):
        if name in found:
            values = getattr(stage, name)
            found[name] = {"count": len(values), "first": found[name][:SHOWN]}
    if isinstance(stage, ComputeCells):
        found["windows"] = join(sorted({window for window, _ in stage.cells}))
    return found


def _line(stage: Stage, zone: str) -> str:
    match stage:
        case Begin(at=at, unavailable=lost):
            told = f"begin: history begins {_instant(at)}"
            return f"{told}; the source is not whole before {_instant(lost[-1][1])}" if lost else told
        case Forgo(spans=spans):
            return f"give up: {', '.join(map(_span, spans))}, never computed, and the source is not whole there"
        case TakeBack(since=since):
            return f"take back what is done and final from {_instant(since)} on"
        case NotePlaces(rows=rows):
            return f"note where {len(rows)} moved row(s) are now"
        case ComputeSpan(span=span, grain=grain):
            told = f"compute {_span(span)}: {count([span], 'minute', zone)} minutes, in"
            told += f" {count([span], 'hour', zone)} hours and {count([span], 'day', zone)} days"
            return told if grain == "minute" else f"{told}; kept from {grain} on"
        case ComputeCells(cells=cells):
            minutes = sorted({window for window, _ in cells})
            return (
                f"compute {len(cells)} touched cell(s) of {len(minutes)} minute(s), {_span((minutes[0], minutes[-1]))}"
            )
        case RollUp(span=span, grain=grain):
            return f"roll up {count([span], grain, zone)} {grain}(s), {_span(span)}"
        case KeepFrozen(spans=spans, cells=cells):
            kept = [_span(span) for span in spans] + ([f"{len(cells)} touched cell(s)"] if cells else [])
            return f"keep frozen: {', '.join(kept)}"
        case Advance(closed_until=until):
            return f"advance: minutes are final until {_instant(until)}"
        case Publish(instead_of=None):
            return "publish: the views show this version"
        case Publish(instead_of=version):
            return f"publish: the views show this version instead of {version}"


def _size(stage: Stage) -> str:
    match stage:
        case ComputeSpan(span=span):
            return f" {_span(span)}"
        case RollUp(span=span, grain=grain):
            return f" {grain} {_span(span)}"
        case ComputeCells(cells=cells):
            return f" {len(cells)} cells"
        case _:
            return ""


def _span(span: Span) -> str:
    return f"{_instant(span[0])} to {_instant(span[1])}"


def _instant(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}Z"


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(one) for one in value]
    return value
