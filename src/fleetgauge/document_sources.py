"""The sources of metrics that are documents of a consumer: what each stores, and what it cannot give.

Puts together what ingest knows of a consumer and what the rollup asks of documents; called by `pipeline`, `lint` and
the command line. Reads files only.
"""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from fleetgauge.errors import Terminal
from fleetgauge.rollup import Definition
from fleetgauge.rollup.definitions.loader import METRICS_FOLDER, located
from fleetgauge.rollup.sources.stream import EventStream

if TYPE_CHECKING:
    from fleetgauge.ingest.consumer import Consumer


def event_streams(content: Path, definitions: Iterable[Definition]) -> dict[str, EventStream]:
    """The sources of these metrics that are documents of a consumer. Reads files only; raises `Terminal`."""
    sources = sorted({definition.source for definition in definitions if definition.documents is not None})
    return {source: _stream(content, source) for source in sources}


def document_problems(content: Path, definitions: Iterable[Definition]) -> list[str]:
    """One line for each thing that a metric asks of documents which they cannot give. Reads files only."""
    return [
        problem
        for definition in definitions
        if definition.documents is not None
        for problem in located(
            content / METRICS_FOLDER / definition.metric, list(_unanswered(content, definition)), shown_from=content
        )
    ]


def replaying_groups(content: Path, consumer: "Consumer") -> tuple[str, ...]:
    """Groups that read the same topic into the same index, so that what they store lies anywhere in the topic."""
    from fleetgauge.ingest.check.lint_consumers import load_consumers

    same = [
        other.group
        for other in load_consumers(content)[0].values()
        if (other.topic, other.index) == (consumer.topic, consumer.index) and other.group != consumer.group
    ]
    return tuple(sorted(same))


def _unanswered(content: Path, definition: Definition) -> Iterator[str]:
    """What the documents of the metric's consumer cannot give; each begins with the path of a key."""
    from fleetgauge.ingest.indices.event_indices import COARSE_TILE, POSITION
    from fleetgauge.rollup.sources.elasticsearch_fields import problems, read_by

    try:
        stream = _stream(content, definition.source)
    except Terminal as error:
        yield f"source: {error}"
        return
    yield from problems(definition, stream.fields)
    by_tile = {one.column for one in definition.dimensions.values() if one.tile is not None and one.tile <= COARSE_TILE}
    for path in read_by(definition):
        if path == POSITION and path in by_tile:
            continue  # an expired position leaves the middle of its tile
        if (kept := _kept_for(stream, path)) is not None and (definition.source_kept or timedelta.max) > kept:
            yield (
                f"source_kept: {path} goes {_days(kept)} after its day (kept_days of the contract), and windows of "
                f"{_days(definition.source_kept)} would be computed anew without it; measure something else, for "
                "nothing that is kept so short can be compared with its source"
            )
    if definition.source_kept != stream.kept:
        yield (
            f"source_kept: the consumer keeps its documents {_days(stream.kept)}; say the same "
            "here, so that windows which have lost theirs are left alone"
        )


def _kept_for(stream: EventStream, path: str) -> timedelta | None:
    """How long a field is kept, where that is shorter than its document; the map point is made of the location."""
    of = "location" if path == "geo.location" else path
    return min((kept for name, kept in stream.short_lived.items() if f"{of}.".startswith(f"{name}.")), default=None)


def _stream(content: Path, source: str) -> EventStream:
    """What the consumer of that name stores. Raises `Terminal` when it, or one of its contracts, cannot be read."""
    from fleetgauge.contracts import ContractSet
    from fleetgauge.contracts import load as load_contracts
    from fleetgauge.ingest.check.lint_consumers import RESERVED
    from fleetgauge.ingest.consumer import load_consumer
    from fleetgauge.ingest.indices.event_indices import suffix_fields
    from fleetgauge.rollup.sources.elasticsearch_fields import searchable

    consumer = load_consumer(content, source)
    known = load_contracts(content / "schemas" / "events")
    if missing := sorted(set(consumer.contracts) - known.keys()):
        raise Terminal(
            f"consumer {consumer.name} names contract {', '.join(missing)}, which schemas/events lacks; add it"
        )
    contracts = ContractSet((known[kind] for kind in consumer.contracts), RESERVED)
    fields = searchable(contracts, suffix_fields(bool(contracts.located)))
    return EventStream(
        consumer.topic,
        consumer.group,
        consumer.index,
        replaying_groups(content, consumer),
        consumer.retention,
        fields,
        contracts.short_lived,
    )


def _days(kept: timedelta | None) -> str:
    return "for ever" if kept is None else f"{kept / timedelta(days=1):g} d"
