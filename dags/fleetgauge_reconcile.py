"""Compare the tables with their sources, and mend what no change column tells of: hard deletes, silent updates.

Every day the last 35 days; on Sundays all that a source keeps, two years at most. Scheduling only: the work is
`fleetgauge.pipeline.reconcile`. A manual run compares what the day of its interval's end would.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from airflow.sdk import DAG, CronDataIntervalTimetable, task
from airflow.sdk.exceptions import AirflowFailException

from fleetgauge import pipeline, settings
from fleetgauge.errors import Stop, Terminal

TIME_ZONE = "Asia/Seoul"
SUNDAY = 6


@task(retries=2, retry_delay=timedelta(minutes=5), execution_timeout=timedelta(hours=6))
def compare(source: str, data_interval_end: datetime | None = None) -> list[dict[str, Any]]:
    """Compare and restate the metrics of a source; reports go to XCom. Fails in the end if one could not be compared.

    Always up to now: what an old run was to compare, a newer one has.
    """
    now = datetime.now(UTC)
    scheduled = datetime.fromtimestamp(data_interval_end.timestamp(), UTC) if data_interval_end is not None else now
    everything = scheduled.astimezone(ZoneInfo(TIME_ZONE)).weekday() == SUNDAY
    try:
        span = pipeline.reconciled_span(now, everything=everything)
        reports = pipeline.reconcile(settings.load(), span, source=source)
        pipeline.raise_unreconciled(reports)
    except (Terminal, Stop) as error:
        raise AirflowFailException(str(error)) from error  # trying again would not help
    return [report.to_dict() for report in reports]


with DAG(
    dag_id="fleetgauge_reconcile",
    description="Compare tables with their sources and restate what differs",
    schedule=CronDataIntervalTimetable("20 3 * * *", timezone=TIME_ZONE),
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["fleetgauge", "reconcile"],
    doc_md=__doc__,
) as dag:
    for source in pipeline.metrics_by_source(settings.load().content):
        compare.override(task_id=source)(source)
