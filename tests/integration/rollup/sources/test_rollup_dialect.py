"""A second dialect is one class: here SQLite, in sixty lines, rolled up by the same engine beside the replica."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from rollup_world import QUICK, World, definition

from fleetgauge.privacy.distinct_key import DistinctKey
from fleetgauge.progress.heartbeat import SourceWatermark
from fleetgauge.rollup import Definition, run_metrics
from fleetgauge.rollup.definitions.measures import Count
from fleetgauge.rollup.operating.reconcile import reconcile_metrics
from fleetgauge.rollup.sources import opened
from fleetgauge.rollup.sources.port import Row
from fleetgauge.rollup.spans import Span
from fleetgauge.rollup.values import Cell, Cursor, LeftOut, Lost, Repeated, SourceRows, Touched, Unfollowed
from fleetgauge.settings import SourceSettings

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
MEASURES = {"n": {"agg": "count"}, "amount": {"agg": "sum", "of": "amount"}}


@dataclass
class SqliteFacts:
    """Epoch seconds in the database; counts and sums of whole numbers."""

    connection: sqlite3.Connection
    definition: Definition
    source_watermark: SourceWatermark | None
    token: Mapping[str, Any] | None = None

    def first_event(self) -> datetime | None:
        ((first,),) = self._rows(f"SELECT min({self.definition.event_time}) FROM {self._source}")
        return None if first is None else datetime.fromtimestamp(first, UTC)

    def about(self, spans: Sequence[Span]) -> int | None:
        return None

    def touched(self, since: Cursor, watermark: datetime, *, first: bool) -> Touched:
        changed = f"{self.definition.change_time} >= ?" + (f" OR {self.definition.event_time} >= ?" if first else "")
        values = [since.at.timestamp(), *([watermark.timestamp()] if first else [])]
        found = self._rows(f"SELECT DISTINCT {self._key} FROM {self._source} WHERE {changed}", *values)
        return Touched([(_instant(minute), tuple(rest)) for minute, *rest in found])

    def windows(self, span: Span) -> list[Row]:
        sums = [
            "count(*)" if isinstance(measure, Count) else f"coalesce(sum({measure.of}), 0)"  # type: ignore[union-attr]
            for measure in self.definition.stored.values()
        ]
        places = ", ".join(str(i + 1) for i in range(1 + len(self.definition.dimensions)))
        at = self.definition.event_time
        found = self._rows(
            f"SELECT {self._key}, {', '.join(sums)} FROM {self._source} WHERE {at} >= ? AND {at} < ? GROUP BY {places}",
            *(edge.timestamp() for edge in span),
        )
        return [(_instant(minute), *rest) for minute, *rest in found]

    def cells(self, wanted: Sequence[Cell]) -> list[Row]:
        n = 1 + len(self.definition.dimensions)
        rows = [row for w in {w for w, _ in wanted} for row in self.windows((w, w + timedelta(minutes=1)))]
        return [row for row in rows if (row[0], row[1:n]) in set(wanted)]

    def lost(self, since: Cursor | None) -> Lost:
        return Lost(token=self.token)

    all_counted = False

    def left_out(self, spans: Sequence[Span]) -> list[LeftOut]:
        return []

    def out_of_range(self) -> list[LeftOut] | None:
        return None

    def unfollowed(self) -> Unfollowed | None:
        return None

    def source_rows(self, span: Span, where: Mapping[str, str]) -> SourceRows:
        raise AssertionError("nobody asks for an explanation here")

    def repeated(self, before: datetime) -> Repeated | None:
        return None

    def totals(self, edges: Sequence[datetime]) -> list[Row]:
        spans = pairwise(edges)
        return [(i, *row[1:]) for i, span in enumerate(spans) for row in self.windows(span)]

    @property
    def _source(self) -> str:
        return f"({self.definition.source_sql})"

    @property
    def _key(self) -> str:
        dims = [f"coalesce({d.column}, '(not set)')" for d in self.definition.dimensions.values()]
        return ", ".join([f"cast({self.definition.event_time} / 60 AS integer) * 60", *dims])

    def _rows(self, query: str, *values: float) -> list[Any]:
        return self.connection.execute(query, values).fetchall()


class SqliteSource:
    """See `Source`."""

    def __init__(self, name: str, settings: SourceSettings, *, key: DistinctKey | None = None) -> None:
        """It has no distinct measures, so it needs no key."""
        self.name = name
        self.seconds = 0.0
        self._path = settings.url.get_secret_value().removeprefix("sqlite:")

    @contextmanager
    def look(self, definition: Definition) -> Iterator[SqliteFacts]:
        connection = sqlite3.connect(self._path)
        try:
            ((beat,),) = connection.execute("SELECT at FROM beat")
            yield SqliteFacts(connection, definition, SourceWatermark(_instant(beat), _instant(beat)))
        finally:
            connection.close()

    def connect_ahead(self, definition: Definition) -> None: ...

    def close(self) -> None: ...


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def test_two_named_sources_of_different_kinds_meet_in_one_metrics_database(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(opened.DIALECTS, "sqlite", SqliteSource)
    shop = sqlite3.connect(tmp_path / "shop.db", isolation_level=None)
    shop.execute("CREATE TABLE sale (at REAL, changed REAL, shelf TEXT, amount INTEGER)")
    shop.execute("CREATE TABLE beat (at REAL)")
    shop.execute("INSERT INTO beat VALUES (?)", [NOW.timestamp() - 120])
    for i in range(300):
        at = (NOW - timedelta(minutes=11 * i + 5)).timestamp()
        shop.execute("INSERT INTO sale VALUES (?, ?, ?, ?)", [at, at, "ab"[i % 2] if i % 3 else None, i])
    sources = {**world.settings.sources, "shop": SourceSettings(url=SecretStr(f"sqlite:{tmp_path / 'shop.db'}"))}
    settings = world.settings.model_copy(update={"sources": sources})
    sales = definition(
        "sales",
        source="shop",
        event_time="at",
        change_time="changed",
        dimensions={"shelf": {"column": "shelf", "limit": 8}},
        measures=MEASURES,
        rollups={"total": []},
        source_sql="SELECT at, changed, shelf, amount FROM sale",
    )
    facts = definition("facts_too")
    world.migrate(sales, facts)
    world.insert(NOW - timedelta(hours=1))
    world.beat()
    world.catch_up()
    assert [r.error for r in run_metrics(settings, [sales, facts], "minute", options=QUICK)] == [None, None]
    shop.execute("UPDATE sale SET amount = 1000, changed = ? WHERE amount = 100", [NOW.timestamp() - 60])
    shop.execute("UPDATE beat SET at = ?", [NOW.timestamp()])
    assert run_metrics(settings, [sales], "minute", options=QUICK)[0].cells == 1
    expected = sum(amount for (amount,) in shop.execute("SELECT amount FROM sale"))
    for view in ("minute", "hour", "day", "total_day"):
        row = world.metrics.execute(f"SELECT sum(n), sum(amount) FROM metrics.sales_{view}").fetchone()
        assert row == (300, expected), view
    shop.execute("DELETE FROM sale WHERE amount = 299")
    report = reconcile_metrics(settings, [sales], (NOW - timedelta(days=4), NOW), options=QUICK)[0]
    assert (report.error, report.different) == (None, 1)
    assert world.metrics.execute("SELECT sum(n) FROM metrics.sales_total_day").fetchone() == (299,)
    both = world.metrics.execute(
        "SELECT count(*) FROM metrics.sales_day AS s JOIN metrics.facts_too_day AS f USING (date)"
    ).fetchone()
    assert both is not None
    assert both[0] > 0
