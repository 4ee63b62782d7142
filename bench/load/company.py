"""A simulated company on all servers but Airflow, rolled up: what dashboards are measured on."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from bench.rollup.lab import ROOT, laboratory
from fleetgauge import pipeline, settings
from fleetgauge.ingest.consumer import load_consumer
from fleetgauge.ingest.operate.launch import consume
from fleetgauge.ingest.operate.service import ConsumeOptions
from fleetgauge.rollup import GRAINS, raise_failures
from fleetlab.simulator import Heartbeat, Scale, Timeline, load_backlog
from fleetlab.simulator.truth import TRUTH_FILE
from fleetlab.stack import StackState


@contextmanager
def company(home: Path | None, vehicles: int, days: int) -> Iterator[StackState]:
    """A laboratory with a simulated company, rolled up; without Airflow, which would take its share of the machine."""
    with laboratory(home, ("postgres", "kafka", "elasticsearch")) as state:
        postgres, kafka = state.need_postgres(), state.need_kafka()
        with psycopg.connect(postgres.primary_admin_url) as primary:
            loaded = primary.execute("SELECT to_regclass('rentals') IS NOT NULL").fetchone() == (True,)
        if not loaded:
            plan = Timeline.ending(Scale(vehicles=vehicles, days=days, live_seconds=0), datetime.now(UTC))
            load_backlog(
                plan,
                primary_url=postgres.primary_app_url,
                dba_url=postgres.primary_admin_url,
                kafka_bootstrap=kafka.bootstrap,
                truth_path=Path(state.home) / TRUTH_FILE,
                source_sql=ROOT / "sql" / "source",
            )
            known = settings.load(Path(state.config))
            pipeline.migrate(known)
            for name in ("device_events", "device_commands"):
                consume(load_consumer(ROOT, name), known, ConsumeOptions(until_caught_up=True))
            with Heartbeat(postgres.primary_app_url):
                for grain in GRAINS:
                    raise_failures(pipeline.runs(known, grain))
        yield state
