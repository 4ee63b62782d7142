"""Roll every source up: a DAG for each grain, a task for each source.

Scheduling only: the work is `fleetgauge.pipeline.run`. Parsing reads the definitions' files and touches no database.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Asset, CronDataIntervalTimetable, task
from airflow.sdk.exceptions import AirflowFailException

from fleetgauge import pipeline, settings
from fleetgauge.errors import Stop, Terminal
from fleetgauge.rollup import Grain

TIME_ZONE = "Asia/Seoul"
SCHEDULES: dict[Grain, str] = {"minute": "* * * * *", "hour": "0 * * * *", "day": "0 0 * * *"}
BELOW: dict[Grain, Grain] = {"hour": "minute", "day": "hour"}


def table(metric: str, grain: str) -> Asset:
    """The aggregate table of a metric at a grain, as Airflow shows it in its lineage."""
    return Asset(name=f"metrics.{metric}_{grain}", uri=f"x-fleetgauge://metrics/{metric}_{grain}", group="aggregate")


def _plain(instant: datetime) -> datetime:
    """Airflow's instants are pendulum's, whose differences do not divide by a `timedelta`."""
    return datetime.fromtimestamp(instant.timestamp(), UTC)


@task(retries=2, retry_delay=timedelta(seconds=10), execution_timeout=timedelta(hours=1))
def roll_up(
    source: str,
    grain: Grain,
    data_interval_start: datetime | None = None,
    data_interval_end: datetime | None = None,
) -> list[dict[str, Any]]:
    """Recompute the run's own interval and whatever the ledger and the changed rows tell; reports go to XCom."""
    interval = None
    if data_interval_start is not None and data_interval_end is not None and data_interval_start < data_interval_end:
        interval = (_plain(data_interval_start), _plain(data_interval_end))
    try:
        return [report.to_dict() for report in pipeline.run(settings.load(), source, grain, interval)]
    except (Terminal, Stop) as error:
        raise AirflowFailException(str(error)) from error  # trying again would not help


@task(retries=0)
def unread(metric: str) -> None:
    """Stands for a metric whose definition cannot be read, so that it is seen where the others run; always fails."""
    found = pipeline.broken(settings.load().content)
    if metric in found:
        raise AirflowFailException(f"metric {metric} is not computed: {found[metric]}")


def build(grain: Grain, scheduled: pipeline.Scheduled) -> DAG:
    """The DAG of one grain. Minute runs read the sources, also for metrics that have no minutes."""

    def tables(metrics: tuple[str, ...], of: Grain) -> list[Asset]:
        return [table(metric, of) for metric in metrics if of in scheduled.grains[metric]]

    with DAG(
        dag_id=f"fleetgauge_{grain}",
        description=f"Aggregate tables at {grain} grain",
        schedule=CronDataIntervalTimetable(SCHEDULES[grain], timezone=TIME_ZONE),
        start_date=datetime(2024, 1, 1, tzinfo=UTC),
        catchup=False,  # the ledger knows what is missing: one run heals a backlog
        max_active_runs=1,
        tags=["fleetgauge", grain],
        doc_md=__doc__,
    ) as dag:
        for source, metrics in scheduled.metrics_by_source.items():
            below = tables(metrics, BELOW[grain]) if grain in BELOW else []
            roll_up.override(task_id=source, inlets=below, outlets=tables(metrics, grain))(source, grain)
        for metric in scheduled.broken:
            unread.override(task_id=f"definition_of_{re.sub('[^A-Za-z0-9_.-]', '_', metric)}")(metric)
    return dag


SCHEDULED = pipeline.scheduled(settings.load().content)
for _grain in SCHEDULES:
    globals()[f"fleetgauge_{_grain}"] = build(_grain, SCHEDULED)
