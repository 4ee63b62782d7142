"""How long a day of a million documents takes from Elasticsearch to minute, hour and day."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.ingest.workload import Elasticsearch
from bench.rollup.runs import Figure
from fleetgauge import pipeline
from fleetgauge import settings as fleetgauge_settings
from fleetgauge.ingest.consumer import load_consumer
from fleetgauge.ingest.operate.launch import consume
from fleetgauge.ingest.operate.service import ConsumeOptions
from fleetgauge.rollup import load_definitions
from fleetgauge.rollup.sources import elasticsearch_query as query
from fleetgauge.settings import Settings
from fleetlab.simulator.publish import Publisher, create_topics
from fleetlab.simulator.records import EVENTS_TOPIC
from fleetlab.simulator.scale import Scale
from fleetlab.simulator.timeline import Timeline
from fleetlab.stack import StackState

METRIC = "telemetry"
LIMIT_S = 60.0
SCALE = Scale(vehicles=9_000, days=1, live_seconds=0)
"""A little more than 1,000,000 events in the day."""


def measure(state: StackState, rounds: int) -> Figure:
    """Events through Kafka and the project's consumer into Elasticsearch, then backfills of their day.

    Blocks for minutes. Whatever the topic held before is in the figure too.
    """
    settings = fleetgauge_settings.load(Path(state.config))
    plan = Timeline.ending(SCALE, datetime.now(UTC))
    source = load_definitions(settings.content)[METRIC].source
    consumer = load_consumer(settings.content, source)
    _produce(plan, settings)
    consume(consumer, settings, ConsumeOptions(until_caught_up=True))
    pipeline.migrate(settings)
    pipeline.run(settings, source, "minute", metrics=[METRIC])  # the mark: from here on it is a backfill
    seconds: list[float] = []
    rows = 0
    day = (plan.start, plan.start + timedelta(days=1))
    for _ in range(rounds):
        begin = time.perf_counter()
        (report,) = pipeline.run(settings, source, "minute", day, [METRIC])
        seconds.append(time.perf_counter() - begin)
        rows = report.rows
    server = Elasticsearch(settings.elasticsearch.url)
    stored = server.ask("POST", f"/{consumer.index}/_count", {"query": query.within([day])})["count"]
    return Figure(f"a day of {stored:,} documents, {rows:,} rows", LIMIT_S, tuple(seconds))


def _produce(plan: Timeline, settings: Settings) -> None:
    create_topics(settings.kafka.bootstrap_servers, "")
    with Publisher(settings.kafka.bootstrap_servers, "") as publisher:
        for some in plan.backlog():
            publisher.publish([record for record in some if record.topic == EVENTS_TOPIC])
