"""How long a day of a million documents takes from Elasticsearch to minute, hour and day."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.ingest.workload import Elasticsearch
from bench.rollup.passes import Figure
from fleetgauge import pipeline
from fleetgauge import settings as fleetgauge_settings
from fleetgauge.clock import SystemClock
from fleetgauge.ingest.consumer import load_consumer
from fleetgauge.progress.offsets import read_progress
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
    with _consuming(Path(state.config), settings):
        _produce(plan, settings)
    pipeline.migrate(settings)
    source = pipeline.load_definitions(settings.content)[METRIC].source
    pipeline.run(settings, source, "minute", metrics=[METRIC])  # the mark: from here on it is a backfill
    seconds: list[float] = []
    rows = 0
    day = (plan.start, plan.start + timedelta(days=1))
    for _ in range(rounds):
        begin = time.perf_counter()
        (report,) = pipeline.run(settings, source, "minute", day, [METRIC])
        seconds.append(time.perf_counter() - begin)
        rows = report.rows
    counted = f"/{load_consumer(settings.content, source).index}/_count"
    stored = Elasticsearch(settings.elasticsearch.url).ask("POST", counted, {"query": query.within([day])})["count"]
    return Figure(f"a day of {stored:,} documents, {rows:,} rows", LIMIT_S, tuple(seconds))


def _produce(plan: Timeline, settings: Settings) -> None:
    create_topics(settings.kafka.bootstrap_servers, "")
    with Publisher(settings.kafka.bootstrap_servers, "") as publisher:
        for some in plan.backlog():
            publisher.publish([record for record in some if record.topic == EVENTS_TOPIC])


@contextmanager
def _consuming(config: Path, settings: Settings) -> Iterator[None]:
    """A consumer beside the block; afterwards it goes on until nothing is left in the topic."""
    consumer = load_consumer(settings.content, pipeline.load_definitions(settings.content)[METRIC].source)
    command = [sys.executable, "-m", "fleetgauge", "--config", str(config), "consume", consumer.name]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
        deadline = time.monotonic() + 600
        while read_progress(settings.kafka, consumer.topic, consumer.group, SystemClock()).lag:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the consumer ended early or does not get on")
            time.sleep(0.5)
    finally:
        process.terminate()
        process.wait()
