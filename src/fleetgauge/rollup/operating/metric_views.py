"""What becomes of a metric's views: which version shows what, what is NULL when, and what others have built on them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from fleetgauge.postgres import Connection
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import GRAINS, Grain
from fleetgauge.rollup.labels import FORMAT
from fleetgauge.rollup.store.dependents import dependents, grants
from fleetgauge.rollup.store.publish import current_publication, missing, planned, refusal
from fleetgauge.rollup.store.versions import Stretch, Version, versions


@dataclass(frozen=True)
class Kept:
    """Windows that stay from an older version, since this one cannot compute them. Instants are UTC."""

    version: str
    grain: Grain
    begin: datetime | None
    """None: from its beginning."""
    end: datetime | None


@dataclass(frozen=True)
class MetricViews:
    """One metric's views, as they will be once this version is shown."""

    state: Literal["current", "published", "waiting"]
    """`published`: they are made (again) by the next run or migration; `waiting`: not before a run has filled it."""
    shown: str | None
    """The version that they show now."""
    refused: str | None = None
    """Why they cannot become so, and what to do."""
    kept: tuple[Kept, ...] = ()
    null: Mapping[str, str] | None = None
    """By column, in which windows it is NULL, for their version does not measure it."""
    dependents: tuple[str, ...] = ()
    """What others have built on them."""
    grants: tuple[str, ...] = ()
    """What others may do with them, beside the viewers."""


def look_at(
    connection: Connection,
    definition: Definition,
    own: Collection[str],
    unavailable: Mapping[Grain, Sequence[Stretch]] | None = None,
) -> MetricViews:
    """Reads the catalogue alone.

    `own`: the views of every `views.sql`. `unavailable`: what the version will not be able to compute, where no run has
    found that out yet.
    """
    known = versions(connection, definition.metric)
    shown = known[0].version if known and known[0].published_at is not None else None
    mine = next((one for one in known if one.version == definition.version), None)
    now = current_publication(definition, known)
    if mine is None:
        mine = Version(definition.version, datetime.now(UTC), None, definition.plain(), None, FORMAT, {}, filled=False)
    if unavailable is not None:
        mine = replace(mine, unavailable={grain: tuple(found) for grain, found in unavailable.items()})
    known = [mine, *(one for one in known if one.version != definition.version)]
    changes = planned(connection, definition, known)
    names = [change.view for change in changes]
    null: dict[str, str] = {}
    for change in changes:
        if change.level.whole:  # of several grains the coarsest, whose bounds are days
            null |= missing(definition, change)
    kept = [
        Kept(branch.version, grain, branch.begin, branch.end)
        for grain in GRAINS
        for change in changes
        if change.level.name == grain
        for branch in change.branches
        if branch.version != definition.version
    ]
    return MetricViews(
        now.state if shown is not None or now.state != "waiting" else "published",
        shown,
        refusal(connection, changes, own),
        tuple(kept),
        null,
        tuple(map(str, dependents(connection, names, own))),
        tuple(map(str, grants(connection, names))),
    )
