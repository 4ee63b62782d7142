"""Raw days out of a real Elasticsearch: all of a day, the same bytes again, and nothing where the index has gone."""

import dataclasses
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import pytest
from elasticsearch import Elasticsearch, helpers
from pyarrow import fs

from fleetgauge import raw_days
from fleetgauge.contracts import ContractSet, load
from fleetgauge.errors import Terminal, Transient
from fleetgauge.ingest.consumer import Consumer, load_consumer
from fleetgauge.ingest.indices.event_indices import suffix_fields
from fleetgauge.raw_days import export_raw_days
from fleetgauge.settings import ElasticsearchSettings, Settings
from fleetlab.simulator import Scale, Timeline
from fleetlab.simulator.records import EVENTS_TOPIC, VALID
from fleetlab.stack import ElasticsearchState

ROOT = Path(__file__).parents[3]
DAY = date(2026, 11, 19)
STORED = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture(scope="module")
def consumer() -> Consumer:
    return dataclasses.replace(load_consumer(ROOT, "device_events"), index=f"raw-{uuid4().hex[:8]}")


@pytest.fixture(scope="module")
def settings(elasticsearch: ElasticsearchState) -> Settings:
    return Settings(content=ROOT, elasticsearch=ElasticsearchSettings(url=elasticsearch.url))


@pytest.fixture(scope="module")
def stored(elasticsearch: ElasticsearchState, consumer: Consumer) -> Iterator[list[dict[str, Any]]]:
    """The documents of a day, as ingest writes them: of a small company, in three partitions."""
    plan = Timeline.ending(
        Scale(vehicles=10, days=1, rate=4, live_seconds=0, seed=5), datetime(2026, 11, 20, tzinfo=UTC)
    )
    records = [one for part in plan.backlog() for one in part if one.topic == EVENTS_TOPIC and one.fault == VALID]
    offsets = [0, 0, 0]
    documents = []
    for number, one in enumerate(
        one for one in records if datetime.fromtimestamp(one.event_ms / 1000, UTC).date() == DAY
    ):
        suffix = {
            "@timestamp": one.event_ms,
            "event.ingested": one.append_ms,
            "kafka.partition": number % 3,
            "kafka.offset": offsets[number % 3],
        }
        offsets[number % 3] += 1
        documents.append(json.loads(one.value or b"") | suffix)
    documents[0] |= {"rider_note": {"of": "r-004217"}}
    contracts = load(ROOT / "schemas" / "events")
    mapping = ContractSet([contracts[kind] for kind in consumer.contracts]).mapping(suffix_fields(True))
    client = Elasticsearch(elasticsearch.url)
    index = f"{consumer.index}-{DAY:%Y.%m.%d}"
    client.indices.create(index=index, mappings=mapping)
    helpers.bulk(client, ({"_index": index, "_source": one} for one in reversed(documents)))
    yield documents
    client.options(ignore_status=404).indices.delete(index=index)
    client.close()


def test_a_day_is_there_in_whole_and_the_same_bytes_again(
    settings: Settings,
    consumer: Consumer,
    stored: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(raw_days, "PAGE", 100)
    store = fs.LocalFileSystem()
    days = (DAY - timedelta(days=1), DAY + timedelta(days=1))
    before, day = export_raw_days(settings, consumer, *days, store, str(tmp_path), STORED)
    assert (before.rows, day.rows) == (None, len(stored)) and len(stored) > 200
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [Path(day.path)]
    table = duckdb.sql(
        f"SELECT kafka_partition, kafka_offset, kind, epoch_ms(timestamp), device_id, message_bytes, speed, date"
        f" FROM read_parquet('{tmp_path}/*_raw/*/*.parquet', hive_partitioning = true) ORDER BY 1, 2"
    ).fetchall()
    right = sorted(
        (
            one["kafka.partition"],
            one["kafka.offset"],
            one["kind"],
            one["timestamp"],
            one["device"]["id"],
            one["message"]["bytes"],
            one.get("speed"),
            DAY,
        )
        for one in stored
    )
    assert table == right
    once = Path(day.path).read_bytes()
    assert b"r-004217" not in once and "location_lat" not in duckdb.sql(f"FROM '{day.path}'").columns
    list(export_raw_days(settings, consumer, *days, store, str(tmp_path), STORED))
    assert Path(day.path).read_bytes() == once
    list(export_raw_days(settings, consumer, *days, store, str(tmp_path), STORED, personal=True))
    more = duckdb.sql(f"SELECT other, count(*) FROM '{day.path}' WHERE other IS NOT NULL GROUP BY 1").fetchall()
    assert more == [('{"rider_note": {"of": "r-004217"}}', 1)]
    assert duckdb.sql(f"SELECT count(location_lat) FROM '{day.path}'").fetchall()[0][0] > 100


def test_a_day_that_is_not_whole_is_refused_and_a_failure_leaves_the_file(
    settings: Settings,
    consumer: Consumer,
    stored: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, span = fs.LocalFileSystem(), (DAY, DAY + timedelta(days=1))
    with pytest.raises(Terminal, match="not whole yet"):
        list(export_raw_days(settings, consumer, *span, store, str(tmp_path), datetime(2026, 11, 19, 23, tzinfo=UTC)))
    (dry,) = export_raw_days(settings, consumer, *span, store, str(tmp_path), STORED, dry_run=True)
    assert dry.rows is None and list(tmp_path.iterdir()) == []
    (done,) = export_raw_days(settings, consumer, *span, store, str(tmp_path), STORED)
    once = Path(done.path).read_bytes()
    gone = dataclasses.replace(consumer, index="never-there")
    (kept,) = export_raw_days(settings, gone, *span, store, str(tmp_path), STORED)
    assert kept.rows is None and Path(done.path).read_bytes() == once
    with pytest.raises(Transient):
        away = settings.model_copy(update={"elasticsearch": ElasticsearchSettings(url="http://127.0.0.1:1")})
        list(export_raw_days(away, consumer, *span, store, str(tmp_path), STORED))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [Path(done.path)]
    assert Path(done.path).read_bytes() == once
