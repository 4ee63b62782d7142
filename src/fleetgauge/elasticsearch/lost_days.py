"""The daily indices behind numbers, from look to look: which are closed, lack a field, or have lost documents.

Documents are only ever added, so a day that holds fewer than before was deleted, or made anew with a part of it. What
was computed of it is right, and cannot be computed again; so it stays, and is told, until its documents are back (a
snapshot, the topic read again) or the day expires. What a look notes travels in the cursor's token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from fleetgauge.elasticsearch.daily_indices import day_of

_DAY = timedelta(days=1)
_AT_MOST = 1_000
"""Days that are remembered."""
_AFTER = timedelta(minutes=5)
"""How much after a cursor windows may have been computed under it."""

Token = Mapping[str, Any]
Span = tuple[datetime, datetime]


@dataclass(frozen=True)
class Days:
    """As one look finds them."""

    prefix: str
    documents: Mapping[str, int]
    """How many documents each open index holds."""
    closed: Mapping[str, datetime] = field(default_factory=dict)
    """Closed ones, and when their days begin."""
    lacking: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Fields which the metric reads and an index does not map."""

    mistyped: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Those of `closed` that are not read since they map fields of the metric to another type, and which fields."""

    def noted(self, before: Token, at: datetime | None, *, kept_from: datetime | None, anew: bool = False) -> Token:
        """What the next cursor remembers: the most documents that each day has held, and where some are lost.

        `before` is what the last one remembers, which stood `at`; days that end by `kept_from` have expired. A day
        that was still going on when it lost documents gets others, so that their number says nothing: it counts as
        whole again only once the topic was read `anew`.

        A version that begins (`inherit`) takes `before` from an older one. What that one had lost it cannot compute,
        now or later: the older one's windows go on being shown.
        """
        was: Mapping[str, int] = before.get("documents", {})
        short: Mapping[str, Sequence[str]] = before.get("short", {})
        most: dict[str, int] = {}
        lost: dict[str, Sequence[str]] = {}
        for index in sorted({*was, *self.documents}):
            begin = day_of(index, self.prefix)
            if begin is None or (kept_from is not None and begin + _DAY <= kept_from):
                continue
            known, found = was.get(index, 0), self.documents.get(index, 0)
            most[index] = max(known, found)
            if index in self.closed:
                lost |= {index: short[index]} if index in short else {}
            elif index in short and (found < known or not (anew or _span(short[index])[1] == begin + _DAY)):
                lost[index] = short[index]
            elif found < known and index not in short and at is not None:
                end = min(begin + _DAY, at.astimezone(UTC).replace(second=0, microsecond=0) + _AFTER)
                if begin < end:
                    lost[index] = (begin.isoformat(), end.isoformat())
                else:  # nothing was computed of it
                    most[index] = found
        noted: dict[str, Any] = {"documents": dict(sorted(most.items())[-_AT_MOST:])}
        noted |= {"closed": {index: at.isoformat() for index, at in self.closed.items()}} if self.closed else {}
        noted |= {"mistyped": {one: list(of) for one, of in self.mistyped.items()}} if self.mistyped else {}
        foreign = {one: count for one, count in self.documents.items() if count and day_of(one, self.prefix) is None}
        noted |= {"foreign": foreign} if foreign else {}
        noted |= {"short": lost} if lost else {}
        noted |= {"lacking": dict(self.lacking)} if self.lacking else {}
        inherited = lost if before.get("inherit") else before.get("inherited", {})
        inherited = {index: one for index, one in inherited.items() if index in most}
        return noted | ({"inherited": inherited} if inherited else {})


def lost_spans(noted: Token) -> list[Span]:
    """The time of which documents are lost, or were when the version began, oldest first."""
    found = {**noted.get("inherited", {}), **noted.get("short", {})}
    return sorted(_span(one) for one in found.values())


def whole_again(before: Token, noted: Token) -> list[Span]:
    """The days that had lost documents at a cursor, and have not any more."""
    found = noted.get("short", {}).keys() | noted.get("closed", {}).keys()
    here = noted["documents"]
    return [_day(one) for index, one in before.get("short", {}).items() if index not in found and index in here]


def opened(before: Token, noted: Token) -> list[Span]:
    """The days that were closed at a cursor and can be read again, so that documents in them may be new."""
    closed = noted.get("closed", {})
    return [_day([begin]) for index, begin in before.get("closed", {}).items() if index not in closed]


def _span(one: Sequence[str]) -> Span:
    return datetime.fromisoformat(one[0]), datetime.fromisoformat(one[1])


def _day(one: Sequence[str]) -> Span:
    begin = datetime.fromisoformat(one[0])
    return begin, begin + _DAY
