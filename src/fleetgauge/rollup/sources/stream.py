"""What the rollup has to know of a consumer whose documents it reads; whoever puts the parts together fills it in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(frozen=True)
class EventStream:
    """A topic as a consumer group has stored it."""

    topic: str
    group: str
    """Its committed offsets say what is finished."""
    index: str
    """Alias over the daily indices."""
    replays: tuple[str, ...] = ()
    """Other groups that store the same topic into the same indices, at offsets that `group` may have passed."""
    kept: timedelta | None = None
    """How long documents are kept; None: for ever."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Dotted path → Elasticsearch type; empty for a field that documents hold but no search can use."""
    short_lived: Mapping[str, timedelta] = field(default_factory=dict)
    """Fields that go before their documents do, and after how long."""
