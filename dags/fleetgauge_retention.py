"""Once a day delete indices, fields and partitions that are older than they are kept, and versions that nothing shows.

Scheduling only: the work is `index_retention.run`, `field_retention.run`, and of `fleetgauge.pipeline` and
`fleetgauge.command_attempts` `drop_partitions`, `drop_command_months` and `prune_versions`.
A cluster with lifecycle management deletes indices by itself; the run then finds none. The login of `elasticsearch` in
the settings needs the rights `delete_index`, `monitor` and `view_index_metadata` on the indices.
"""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable, task
from airflow.sdk.exceptions import AirflowFailException

from fleetgauge import command_attempts, pipeline, settings
from fleetgauge.errors import Transient
from fleetgauge.ingest.operate import field_retention
from fleetgauge.ingest.operate import index_retention as retention


@task(retries=3, retry_delay=timedelta(minutes=5), execution_timeout=timedelta(hours=1))
def delete_expired_days() -> dict[str, list[str]]:
    """Consumer → indices deleted. Fails in the end if something went wrong with one of them, and names it."""
    outcomes = retention.run(settings.load())
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    if errors:
        told = "; ".join(map(str, errors))
        if all(isinstance(error, Transient) for error in errors):
            raise Transient(told)
        raise AirflowFailException(told)  # trying again would not help
    return {outcome.consumer: [day.index for day in outcome.deleted] for outcome in outcomes}


@task(retries=3, retry_delay=timedelta(minutes=5), execution_timeout=timedelta(hours=6))
def take_out_expired_fields() -> dict[str, list[str]]:
    """Consumer → indices that have lost fields, such as exact positions. Fails in the end, and names the trouble."""
    outcomes = field_retention.run(settings.load())
    if errors := [str(outcome.error) for outcome in outcomes if outcome.error is not None]:
        raise Transient("; ".join(errors))
    return {outcome.consumer: [day.index for day in outcome.days] for outcome in outcomes}


@task(retries=3, retry_delay=timedelta(minutes=5), execution_timeout=timedelta(hours=1))
def drop_expired_partitions() -> dict[str, list[str]]:
    """Metric → partitions dropped. Fails in the end if something went wrong with one of them, and names it."""
    found = pipeline.drop_partitions(settings.load())
    if errors := [f"metric {one.metric}: {one.error}" for one in found if one.error is not None]:
        raise Transient("; ".join(errors))
    return {one.metric: list(one.partitions) for one in found}


@task(retries=3, retry_delay=timedelta(minutes=5), execution_timeout=timedelta(hours=1))
def prune_superseded_versions() -> dict[str, list[str]]:
    """Metric → versions whose tables no view shows any more, and which were dropped."""
    dropped: dict[str, list[str]] = {}
    for one in pipeline.prune_versions(settings.load()):
        if one.kept is None:
            dropped.setdefault(one.metric, []).append(one.version)
    return dropped


@task(retries=3, retry_delay=timedelta(minutes=5), execution_timeout=timedelta(hours=1))
def drop_expired_command_months() -> list[str]:
    """Months of command events and attempts that were dropped."""
    return list(command_attempts.drop_command_months(settings.load()).months)


with DAG(
    dag_id="fleetgauge_retention",
    description="Delete expired daily indices and partitions",
    schedule=CronDataIntervalTimetable("30 2 * * *", timezone="UTC"),  # days end at midnight UTC
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["fleetgauge", "retention"],
    doc_md=__doc__,
) as dag:
    delete_expired_days() >> take_out_expired_fields()
    drop_expired_partitions()
    drop_expired_command_months()
    prune_superseded_versions()
