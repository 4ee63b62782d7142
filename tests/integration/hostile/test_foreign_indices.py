"""What stands behind an alias beside its days, such as a snapshot restored under another name, counts nothing twice."""

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import document_world as documents
import pytest
from elasticsearch import Elasticsearch
from fault_table import fault
from prometheus_client import CollectorRegistry, generate_latest

from fleetgauge import diagnosis, pipeline
from fleetgauge.commands.pages import ElasticsearchDocuments
from fleetgauge.rollup.operating.exports import RollupCollector
from fleetgauge.rollup.operating.freshness import freshness

world, database, start = documents.world, documents.database, documents.start


@pytest.fixture
def client(elasticsearch: Any) -> Iterator[Elasticsearch]:
    with closing(Elasticsearch(elasticsearch.url)) as found:
        yield found


def copied(client: Elasticsearch, index: str, name: str) -> int:
    """As a restored snapshot is: the same documents, and by the template the same alias."""
    client.indices.refresh(index=index)
    hits = client.search(index=index, size=1000)["hits"]["hits"]
    for hit in hits:
        client.index(index=name, id=hit["_id"], document=hit["_source"])
    client.indices.refresh(index=name)
    return len(hits)


@fault(
    "A copy of a daily index stands behind the same alias, such as a snapshot restored as `…-2026.11.28-restored`",
    number="right: only indices that are named by a day are read",
    freshness="warn: the index, its documents, and how to take it out of the alias",
    doctor="warn: the same",
    exporter='`fleetgauge_rollup_condition{condition="foreign_index"}` as many as there are',
    exit_code="0",
)
def test_a_copy_behind_the_alias_counts_nothing_twice(world: Any, start: datetime, client: Elasticsearch) -> None:
    alias = world.name.replace("_", "-")
    world.send(*documents.mixed(start, 5, 30))
    world.ingest()
    world.run()
    world.assert_right()
    day = f"{alias}-{start:%Y.%m.%d}"
    copies = [f"{day}-restored", f"{alias}-backup"]
    counts = {name: copied(client, day, name) for name in copies}
    assert alias in client.indices.get_alias(index=copies[0])[copies[0]]["aliases"]
    world.send(*documents.mixed(start, 5, 10))
    world.ingest()
    assert world.run().error is None
    world.assert_right()
    (compared,) = pipeline.reconcile(
        world.settings, (start - timedelta(hours=1), start + timedelta(hours=2)), [world.name]
    )
    assert (compared.error, compared.different) == (None, 0)
    world.run()
    world.assert_right()
    definitions = {world.name: world.definition}
    standings = freshness(world.settings, definitions.values())
    said = {one.said for standing in standings for one in standing.conditions if one.condition.name == "foreign_index"}
    assert {one.verdict for one in standings} == {"warn"} and len(said) == 1
    for name, count in counts.items():
        assert f"{name} ({count} documents)" in said.copy().pop()
    registry = CollectorRegistry()
    registry.register(RollupCollector(world.settings, definitions))
    page = generate_latest(registry).decode()
    assert f'fleetgauge_rollup_condition{{condition="foreign_index",metric="{world.name}"}} 2.0' in page
    assert any(copies[0] in one.said for one in diagnosis.examine(world.settings) if one.about == "numbers")
    with ElasticsearchDocuments(world.settings.elasticsearch) as stored:  # so commands are read
        assert sum(len(page.sources) for page in stored.pages(alias, None)) == 40
    client.indices.delete(index=",".join(copies))
    world.run()
    assert {one.verdict for one in freshness(world.settings, definitions.values())} == {"ok"}
