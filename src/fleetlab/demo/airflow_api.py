"""The little of Airflow's REST API that the demo needs: unpause, and see what ran."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from fleetgauge.errors import Transient


@dataclass(frozen=True)
class DagRun:
    """`state` is `queued`, `running`, `success` or `failed`; `started_at` is aware, None while queued."""

    id: str
    state: str
    started_at: datetime | None


class AirflowApi:
    """A logged-in client of one Airflow; calls block for at most `timeout_s` seconds, then raise `Transient`."""

    def __init__(self, url: str, username: str, password: str, timeout_s: float = 20.0) -> None:
        self._client = httpx.Client(base_url=url, timeout=timeout_s, trust_env=False)
        self._login = {"username": username, "password": password}

    def __enter__(self) -> "AirflowApi":
        self._client.headers["Authorization"] = (
            "Bearer " + self._call("POST", "/auth/token", json=self._login)["access_token"]
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    @retry(
        retry=retry_if_exception_type(Transient),
        wait=wait_exponential_jitter(0.3, 3),
        stop=stop_after_delay(60),
        reraise=True,
    )
    def _call(self, method: str, path: str, **options: Any) -> Any:
        try:
            answer = self._client.request(method, path, **options)
        except httpx.HTTPError as error:
            raise Transient(
                f"Airflow at {self._client.base_url} does not answer ({type(error).__name__}); see its log"
            ) from error
        if answer.is_error:  # a DAG that is not parsed yet is a 404
            raise Transient(f"Airflow answered {answer.status_code} to {method} {path}: {answer.text[:200]}")
        return answer.json()

    def unpause(self, dag_ids: Iterable[str]) -> None:
        """Let the scheduler run these DAGs; waits up to a minute for one that is not parsed yet."""
        for dag_id in dag_ids:
            self._call("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": False})

    def pause(self, dag_ids: Iterable[str]) -> None:
        """Start no further run of these DAGs."""
        for dag_id in dag_ids:
            self._call("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": True})

    def runs(self, dag_id: str) -> list[DagRun]:
        """The runs of a DAG, at most the first hundred."""
        answer = self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns", params={"limit": 100})
        return [
            DagRun(
                run["dag_run_id"],
                run["state"],
                datetime.fromisoformat(run["start_date"]) if run["start_date"] else None,
            )
            for run in answer["dag_runs"]
        ]

    def working(self) -> int:
        """How many tasks run, or wait for a slot of the executor."""
        answer = self._call(
            "GET", "/api/v2/dags/~/dagRuns/~/taskInstances", params={"state": ["queued", "running"], "limit": 1}
        )
        return int(answer["total_entries"])

    def failures(self, dag_id: str, run_id: str) -> list[str]:
        """`task: message` of the errors that the failed tasks of a run logged."""
        run = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances"
        told = []
        for task in self._call("GET", run)["task_instances"]:
            if task["state"] != "failed":
                continue
            log = self._call("GET", f"{run}/{task['task_id']}/logs/{task['try_number']}")["content"]
            errors = [entry for entry in log if isinstance(entry, dict) and entry.get("level") == "error"]
            told += [f"{task['task_id']}: {_message(entry)}" for entry in errors[-1:]]
        return told


def _message(entry: dict[str, Any]) -> str:
    causes = entry.get("error_detail") or []
    return str(causes[0].get("exc_value") if causes else entry.get("event"))
