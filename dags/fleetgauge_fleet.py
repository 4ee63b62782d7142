"""Look for vehicles that may stop while somebody rides them: once a day, the days that are new or have changed.

Scheduling only: the work is `fleetgauge.suspects.run`. At five in the morning what devices held back has mostly
come; what comes later is taken up by a later run.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, CronDataIntervalTimetable, task
from airflow.sdk.exceptions import AirflowFailException

from fleetgauge import settings, suspects
from fleetgauge.errors import Stop, Terminal

TIME_ZONE = "Asia/Seoul"


@task(retries=3, retry_delay=timedelta(minutes=10), execution_timeout=timedelta(hours=2))
def judge_days() -> list[dict[str, Any]]:
    """Judge what is to be judged; reports go to XCom."""
    try:
        return [report.to_dict() | {"date": str(report.date)} for report in suspects.run(settings.load())]
    except (Terminal, Stop) as error:
        raise AirflowFailException(str(error)) from error  # trying again would not help


with DAG(
    dag_id="fleetgauge_fleet",
    description="Vehicles that may stop while somebody rides them",
    schedule=CronDataIntervalTimetable("0 5 * * *", timezone=TIME_ZONE),
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    catchup=False,  # a run looks at the last two weeks
    max_active_runs=1,
    tags=["fleetgauge", "fleet"],
    doc_md=__doc__,
) as dag:
    judge_days()
