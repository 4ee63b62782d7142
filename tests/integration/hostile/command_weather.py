"""A metrics database of one module for hostile tests over commands: materialise what comes, run the metrics, look."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from fleetgauge.commands.materialise import MaterialiseReport, materialise_documents
from fleetgauge.commands.store import CommandSource, open_store
from fleetgauge.progress.offsets import GroupProgress, PartitionProgress
from fleetgauge.rollup import Definition, load_definitions, raise_failures, run_metrics
from fleetgauge.rollup.store.migrate import migrate
from fleetgauge.settings import MetricsSettings, Settings
from fleetlab.stack import PostgresState

GRAINS = ("minute", "hour", "day")
CONTENT = Path(__file__).parents[3]
SOURCE = CommandSource("commands", "group", "commands")

Document = dict[str, Any]


def noon() -> datetime:
    """Yesterday's noon in Seoul, so that the hours around it belong to one day."""
    return (datetime.now(UTC) - timedelta(days=1)).replace(hour=3, minute=0, second=0, microsecond=0)


@dataclass
class Weather:
    """What has come so far, and the database that it goes into."""

    settings: Settings
    owner: psycopg.Connection
    definitions: Mapping[str, Definition]
    documents: Any
    """The class of listed documents."""
    come: list[Document] = field(default_factory=list)

    def materialise(
        self, *batches: Iterable[Document], watermark: datetime | None = None, documents: Any = None
    ) -> MaterialiseReport:
        """Append the documents and materialise all that has come; `documents` stand in for them, to break."""
        for batch in batches:
            self.come += batch
        at = watermark or datetime.now(UTC)
        progress = GroupProgress(
            SOURCE.topic,
            SOURCE.group,
            "topic",
            at,
            (PartitionProgress(0, 0, len(self.come), len(self.come), unfinished_at=None),),
        )
        with open_store(self.settings.metrics, SOURCE) as store:
            listed = documents or self.documents({0: self.come}, page=1000)
            return materialise_documents(store, listed, progress, SOURCE, settle=timedelta(0))

    def run(self, *batches: Iterable[Document], watermark: datetime | None = None) -> MaterialiseReport:
        """The same, then a run of every metric over commands."""
        report = self.materialise(*batches, watermark=watermark)
        chosen = [one for one in self.definitions.values() if one.source == "commands"]
        raise_failures(run_metrics(self.settings, chosen, "minute", watermark=report.watermark))
        return report

    def rows(self, columns: str, view: str, where: str = "true") -> dict[str, list[tuple[Any, ...]]]:
        """By grain, what a view shows, in order."""
        return {
            grain: self.owner.execute(
                f"SELECT {columns} FROM metrics.{view}_{grain} WHERE {where} ORDER BY 1"
            ).fetchall()
            for grain in GRAINS
        }


class Builder:
    """Makes a `Weather` as often as wanted, each with a database of its own, copied from one that is migrated once."""

    def __init__(self, postgres: PostgresState, content: Path, documents: Any) -> None:
        self._postgres = postgres
        self._content = content
        self._documents = documents
        self._definitions = load_definitions(content)
        self._template = f"weather_{uuid4().hex[:12]}"
        self._made: list[str] = [self._template]
        self._admin = psycopg.connect(postgres.metrics_admin_url, autocommit=True)
        self._admin.execute(f"CREATE DATABASE {self._template} OWNER fleetgauge_owner")
        migrate(self._settings(self._template), self._definitions)

    @contextmanager
    def weather(self) -> Iterator[Weather]:
        """An empty one, gone afterwards."""
        name = f"{self._template}_{len(self._made)}"
        self._admin.execute(f"CREATE DATABASE {name} TEMPLATE {self._template} OWNER fleetgauge_owner STRATEGY wal_log")
        self._made.append(name)
        try:
            with psycopg.connect(self._postgres.url("metrics", "fleetgauge_owner", name), autocommit=True) as owner:
                yield Weather(self._settings(name), owner, self._definitions, self._documents)
        finally:
            self._drop(name)

    def close(self) -> None:
        """Drop all that is left."""
        for name in list(self._made):
            self._drop(name)
        self._admin.close()

    def _drop(self, name: str) -> None:
        self._admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        self._made.remove(name)

    def _settings(self, name: str) -> Settings:
        return Settings(
            content=self._content,
            metrics=MetricsSettings(
                url=self._postgres.url("metrics", "fleetgauge", name),
                owner_url=self._postgres.url("metrics", "fleetgauge_owner", name),
            ),
        )


def same_at_every_grain(rows: Mapping[str, Any], expected: Any) -> None:
    """Assert it of each grain, so that a failure names the grain."""
    assert dict(rows) == dict.fromkeys(GRAINS, expected)
