"""Which firmware version fails more than the one before it, and which only seems to. Pure functions on facts."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil

from fleetgauge.reports.command_facts import CommandCell
from fleetgauge.reports.proportions import (
    Spread,
    Stratified,
    Stratum,
    holm,
    sample_size,
    spread_of,
    stratified,
    wilson,
    z_of,
)
from fleetgauge.rollup.labels import NOT_SET, OTHER

ALPHA = 0.01
"""A report that is read every day accuses a sound version once in a hundred days at most, not once in twenty."""
POWER = 0.8
LEAST_DIFFERENCE = 0.01
"""Where no difference is seen, the number of commands needed is that for one of a percentage point."""

_Strata = dict[tuple[str, str, str], Stratum]


@dataclass(frozen=True)
class FirmwareComparison:
    """A version against the one before it: over all, or for one type of command or one model alone."""

    firmware: str
    before: str
    """The next lower version that ran the same commands on the same models and carriers."""
    scope: str
    """`all`, `command_type` or `vehicle_model`."""
    value: str
    """Which type or model; empty for all."""
    verdict: str
    """`worse`, `better`, `not sure` or `too few`."""
    commands: int
    commands_before: int
    rate: float
    rate_before: float
    """On the common mix of commands, models and carriers: that versions ran on other vehicles is no difference."""
    difference: float
    low: float
    high: float
    """The 95 % interval of the difference, of this comparison alone."""
    p_value: float | None
    """Corrected for all comparisons of the report (Holm); None where there are too few failures for a test."""
    spread: float
    """How much more failures vary from window to window than by chance; the test allows for it."""
    needed: int | None
    """Commands of each of the two versions that would surely show a difference like this one (a power of 80 %)."""
    needed_for: float
    """The difference that this is for: the one that was seen, or a percentage point if that is larger."""


@dataclass(frozen=True)
class FirmwareRate:
    """How often commands fail under one version, over all; versions may run on other vehicles than one another."""

    firmware: str
    requested: int
    unsuccessful: int
    rate: float
    low: float
    high: float


@dataclass(frozen=True)
class FirmwareModelRate:
    """How often commands fail under one version on one model."""

    firmware: str
    vehicle_model: str
    requested: int
    unsuccessful: int
    rate: float
    low: float
    high: float


@dataclass(frozen=True)
class FirmwareReport:
    """Everything about firmware."""

    worst: str | None
    """Of the versions that are surely worse than the one before, the one that fails most too often; None if none is."""
    comparisons: tuple[FirmwareComparison, ...]
    """The accused first, then by the p-value."""
    compared: int
    versions: tuple[FirmwareRate, ...]
    by_model: tuple[FirmwareModelRate, ...]
    not_compared: tuple[str, ...]
    """Versions that share no commands with a lower one: the first, and those of vehicles of their own."""
    left_out: int
    """Commands whose firmware is not known, or is beyond the dimension's limit."""
    alpha: float = ALPHA
    power: float = POWER


def firmware_report(cells: Sequence[CommandCell]) -> FirmwareReport:
    """The findings over all cells of a range."""
    named = [one for one in cells if one.firmware not in (OTHER, NOT_SET) and one.requested > 0]
    by_version: dict[str, list[CommandCell]] = defaultdict(list)
    for one in named:
        by_version[one.firmware].append(one)
    order = sorted(by_version, key=version_key)
    candidates: list[tuple[FirmwareComparison, Stratified]] = []
    alone = []
    for index, firmware in enumerate(order):
        before = next(
            (lower for lower in reversed(order[:index]) if _strata(by_version[firmware], by_version[lower])), None
        )
        if before is None:
            alone.append(firmware)
            continue
        candidates += _compare(firmware, before, by_version[firmware], by_version[before])
    comparisons = _corrected(candidates)
    accused = [one for one in comparisons if one.verdict == "worse"]
    worst = max(accused, key=lambda one: (one.scope == "all", one.low), default=None)
    return FirmwareReport(
        worst=None if worst is None else worst.firmware,
        comparisons=tuple(sorted(comparisons, key=_rank)),
        compared=len(comparisons),
        versions=tuple(FirmwareRate(one, *_rate_of(by_version[one])) for one in order),
        by_model=_by_model(order, named),
        not_compared=tuple(alone),
        left_out=sum(one.requested for one in cells) - sum(one.requested for one in named),
    )


def version_key(version: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts 2.10.0 after 2.9.1, and 3.0.0-rc1 before 3.0.0."""
    parts = []
    for part in re.findall(r"\d+|[A-Za-z]+", version):
        parts.append((2, int(part), "") if part.isdigit() else (0, 0, part.lower()))
    return (*parts, (1, 0, ""))


def _compare(
    firmware: str, before: str, cells: Sequence[CommandCell], cells_before: Sequence[CommandCell]
) -> Iterable[tuple[FirmwareComparison, Stratified]]:
    spread = spread_of(
        [Spread(one.unsuccessful, one.requested, one.windows, one.squares) for one in (*cells, *cells_before)]
    )
    strata = _strata(cells, cells_before)
    scopes = [("all", "", strata)]
    for scope, index in (("command_type", 0), ("vehicle_model", 1)):
        values = sorted({key[index] for key in strata})
        if len(values) > 1:
            scopes += [(scope, value, {k: s for k, s in strata.items() if k[index] == value}) for value in values]
    for scope, value, part in scopes:
        found = stratified(list(part.values()), spread)
        if found is not None:
            yield (
                FirmwareComparison(
                    firmware,
                    before,
                    scope,
                    value,
                    "too few",
                    found.of,
                    found.of_before,
                    found.rate,
                    found.rate_before,
                    found.difference,
                    found.low,
                    found.high,
                    found.p_value,
                    spread,
                    None,
                    0.0,
                ),
                found,
            )


def _corrected(candidates: Sequence[tuple[FirmwareComparison, Stratified]]) -> list[FirmwareComparison]:
    """All of them with p-values for having looked at all, the verdict, and how many commands it would take."""
    tested = [found.p_value for _, found in candidates if found.p_value is not None]
    adjusted = iter(holm(tested))
    done = []
    for one, found in candidates:
        p_value = None if found.p_value is None else next(adjusted)
        if p_value is None:
            verdict = "too few"
        elif p_value > ALPHA:
            verdict = "not sure"
        else:
            verdict = "worse" if found.difference > 0 else "better"
        asked = max(abs(found.difference), LEAST_DIFFERENCE)
        other = found.rate_before + asked if found.difference >= 0 else max(0.0, found.rate_before - asked)
        needed = sample_size(min(1.0, other), found.rate_before, ALPHA / max(1, len(tested)), POWER)
        needed = None if needed is None else ceil(needed * one.spread)
        done.append(replace(one, verdict=verdict, p_value=p_value, needed=needed, needed_for=asked))
    return done


def _strata(cells: Iterable[CommandCell], before: Iterable[CommandCell]) -> _Strata:
    """Where both versions ran the same commands on the same models and carriers."""
    now = {(one.command_type, one.vehicle_model, one.carrier): one for one in cells}
    then = {(one.command_type, one.vehicle_model, one.carrier): one for one in before}
    return {
        key: Stratum(now[key].unsuccessful, now[key].requested, then[key].unsuccessful, then[key].requested)
        for key in sorted(now.keys() & then.keys())
    }


def _rate_of(cells: Iterable[CommandCell]) -> tuple[int, int, float, float, float]:
    found = [*cells]
    of, bad = sum(one.requested for one in found), sum(one.unsuccessful for one in found)
    return of, bad, bad / of, *wilson(bad, of, z_of(0.95))


def _by_model(order: Sequence[str], cells: Iterable[CommandCell]) -> tuple[FirmwareModelRate, ...]:
    found: dict[tuple[str, str], list[CommandCell]] = defaultdict(list)
    for one in cells:
        found[one.firmware, one.vehicle_model].append(one)
    keys = sorted(found, key=lambda key: (order.index(key[0]), key[1]))
    return tuple(FirmwareModelRate(key[0], key[1], *_rate_of(found[key])) for key in keys)


def _rank(one: FirmwareComparison) -> tuple[bool, bool, float, str, str]:
    return (
        one.verdict != "worse",
        one.scope != "all",
        2.0 if one.p_value is None else one.p_value,
        one.firmware,
        one.value,
    )
