"""Airflow: scheduler, API server and DAG processor."""

from fleetgauge.errors import Terminal
from fleetlab.stack.context import Context
from fleetlab.stack.state import AirflowState

PROCESSES = ("airflow-scheduler", "airflow-api-server", "airflow-dag-processor")
PORTS = ("airflow",)
SECRETS = ("airflow_admin", "airflow_jwt", "airflow_api", "airflow_fernet")


def start(context: Context) -> AirflowState:
    """Start it."""
    raise Terminal("airflow cannot be started yet")
