"""Export day rows of metrics and raw days of consumers as Parquet: once a night, the last days anew.

Scheduling only: the work is `fleetgauge.nightly_exports`, which needs the extra `analytics`. Where to is `export.into`
of the settings, a folder or the URI of a store that Airflow's ObjectStoragePath reads; its login is the Airflow
connection `export.connection` (s3:// needs apache-airflow-providers-amazon[s3fs]). Without `export.into` the tasks are
skipped.
"""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable, ObjectStoragePath, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from fleetgauge import settings
from fleetgauge.errors import Stop, Terminal

TIME_ZONE = "Asia/Seoul"


def run(export: str, now: datetime) -> dict[str, int]:
    """Give the store of the settings to a function of `nightly_exports`. Files written, by name."""
    found = settings.load()
    if found.export.into is None:
        raise AirflowSkipException("export.into is not set, so nothing is exported")
    try:
        # Only here: a DAG file is parsed again and again, and these take a second.
        from pyarrow import fs

        from fleetgauge import nightly_exports
    except ModuleNotFoundError as error:
        said = f"exports need the package {error.name}; pip install 'fleetgauge[analytics]' where Airflow runs"
        raise AirflowFailException(said) from None
    try:
        path = ObjectStoragePath(found.export.into, conn_id=found.export.connection)
        store = fs.PyFileSystem(fs.FSSpecHandler(path.fs))
    except ValueError as error:  # no installed provider knows its scheme
        raise AirflowFailException(
            f"export.into cannot be opened: {error}; install the provider of that store where Airflow runs (s3://: "
            "apache-airflow-providers-amazon[s3fs]), or name a folder as file:///…"
        ) from None
    work = {"day_rows": nightly_exports.export_aggregates, "raw_days": nightly_exports.export_raw}[export]
    try:
        return work(found, store, path.path.rstrip("/"), now)
    except (Terminal, Stop) as error:
        raise AirflowFailException(str(error)) from error  # trying again would not help


def end_of_interval() -> datetime:
    """A run that is cleared, or late, exports the days of its own night."""
    end = get_current_context()["data_interval_end"]
    return datetime.now(UTC) if end is None else end


@task(retries=3, retry_delay=timedelta(minutes=10), execution_timeout=timedelta(hours=2))
def export_day_rows() -> dict[str, int]:
    """Metric → files written."""
    return run("day_rows", end_of_interval())


@task(retries=3, retry_delay=timedelta(minutes=10), execution_timeout=timedelta(hours=4))
def export_raw_days() -> dict[str, int]:
    """Consumer → files written."""
    return run("raw_days", end_of_interval())


with DAG(
    dag_id="fleetgauge_export",
    description="Day rows and raw days as Parquet",
    schedule=CronDataIntervalTimetable("0 4 * * *", timezone=TIME_ZONE),
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    catchup=False,  # each run writes the last days anew
    max_active_runs=1,
    tags=["fleetgauge", "export"],
    doc_md=__doc__,
) as dag:
    export_day_rows()
    export_raw_days()
