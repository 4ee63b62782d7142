"""The demo from an empty machine to a checked result: real servers, three days of a company, a live stretch."""

import sys
import threading
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from fleetgauge import pipeline
from fleetgauge import settings as fleetgauge_settings
from fleetgauge.clock import SystemClock
from fleetgauge.errors import Terminal
from fleetgauge.ingest.consumer import Consumer, load_consumer
from fleetgauge.progress.offsets import read_progress
from fleetgauge.settings import Settings
from fleetlab.demo import report_page
from fleetlab.demo.airflow_api import AirflowApi
from fleetlab.demo.beside import Beside
from fleetlab.demo.compare import compare, count_states
from fleetlab.demo.report import Report
from fleetlab.demo.steps import Steps, in_background, wait_for
from fleetlab.demo.watch import Watch
from fleetlab.simulator import Heartbeat, LoadSummary, Scale, Timeline, load_backlog, run_live
from fleetlab.simulator.truth import TRUTH_FILE
from fleetlab.stack import CORE, ConsoleProgress, Stack, StackState, artifacts, monitoring
from fleetlab.stack.java import Jdk, find_jdk, look_at
from fleetlab.stack.layout import default_cache, project_root
from fleetlab.stack.machine import check_machine

CONSUMERS = ("device_events", "device_commands")
_AIRFLOW_POLL_S = 2.0
"""Its API server needs processor time to answer, which the runs need too."""
DAGS = ("fleetgauge_minute", "fleetgauge_hour", "fleetgauge_day")

T = TypeVar("T")


@dataclass(frozen=True)
class DemoOptions:
    """What a user may choose."""

    scale: Scale = field(default_factory=lambda: Scale(live_seconds=90))
    home: Path | None = None
    keep: bool = False
    jdk: Path | None = None
    """The JDK's folder; None takes the best one found."""
    rollup_timeout_s: float = 420
    """How long Airflow may take for everything after the backlog is loaded."""


class Demo:
    """One run. `run()` blocks for minutes; whatever happens, nothing is left running unless `keep`."""

    def __init__(self, options: DemoOptions, console: Console) -> None:
        self._options = options
        self._console = console
        self._steps = Steps(console)
        self._stack = Stack(options.home)
        self._root = project_root()
        self.report = Report(scale=asdict(options.scale))

    def run(self) -> Report:
        """The whole demo. Raises `FleetgaugeError` if a part cannot run; a wrong number is told in the report."""
        finished = False
        try:
            self._check_machine()
            with self._steps.step("clean", "Removing what an earlier run left"):
                self._wipe()
                self.page.unlink(missing_ok=True)
            self._play()
            finished = True
        finally:
            if finished and self._options.keep:
                self._stack.leave_running()
            else:
                with self._steps.step("stop", "Stopping the servers"):
                    if finished:
                        self._wipe()
                    else:
                        self._stack.down()  # the logs are wanted now; the next run removes them
            self.report.seconds = {**self._steps.seconds, "total": self._steps.total}
        return self.report

    def _wipe(self) -> None:
        self._stack.down(wipe=True)
        for path in self._truth_path.parent.glob(f"{self._truth_path.name}*"):
            path.unlink()

    @property
    def page(self) -> Path:
        """Where the report on the company is written; it stays when the servers are stopped."""
        return self._stack.home / report_page.NAME

    def state(self) -> StackState | None:
        """The servers that were left running."""
        return self._stack.state()

    def _check_machine(self) -> None:
        checks = check_machine(self._options.home)
        bad = [check for check in checks if not check.ok]
        if bad:
            raise Terminal("; ".join(f"{check.name}: {check.detail}" for check in bad))
        self._console.print(
            "Machine: " + "; ".join(f"{c.name} {c.detail}" for c in checks), markup=False, highlight=False
        )

    def _play(self) -> None:
        steps, stack = self._steps, self._stack
        progress = ConsoleProgress(sys.stderr)
        with steps.step("download", "Fetching Kafka and Elasticsearch, if the cache has not got them"):
            jdk = look_at(self._options.jdk) if self._options.jdk else find_jdk()
            fetch(jdk, progress)
        with ExitStack() as running:
            stop_live = threading.Event()
            running.callback(stop_live.set)
            with steps.step("first servers", "Starting Postgres (primary, replica, metrics) and Kafka"):
                first = stack.up({"postgres", "kafka"}, progress=progress, jdk=jdk.home, guard=True)
            watch = running.enter_context(Watch(stack.home, steps.tell))
            watch.expect()
            plan = Timeline.ending(self._options.scale, datetime.now(UTC))
            loading = in_background("load", lambda: self._load(plan, first))
            with steps.step("all servers", "Starting Elasticsearch and Airflow, while three days are simulated"):
                # Who looks at the servers has no use for those that nobody will look at.
                watching = monitoring.programs() if self._options.keep else {}
                state = stack.up({*CORE, *watching}, progress=progress, guard=True)
                settings = fleetgauge_settings.load(Path(state.config))
                pipeline.migrate(settings)
                watch.expect(self._start_consumers(state))
                if watching:
                    watch.expect(self._start_exporter(state))
            with steps.step("backlog", "Loading the backlog: Kafka to Elasticsearch"):
                loaded = _result(loading)
                if self._options.keep:
                    watch.expect(self._start_rental_api(state))
                running.enter_context(Heartbeat(state.need_postgres().primary_app_url))
                live = in_background("live", lambda: self._live(plan, state, stop_live))
                self._wait_until_stored(settings, 600)
            self.report.scale["records"] = loaded.records
            with _airflow(state) as airflow:
                settled = self._roll_up(airflow, settings, live)
            with steps.step("compare", "Comparing with the truth"):
                consumers = self._consumers(settings)
                compare(self.report, state, self._truth_path, settings.content, consumers, settled)
            with steps.step("report", "Writing the report on the company"):
                made = report_page.write_page(settings, self.page, self._options.scale.days)
                self.report.checks.append(report_page.check(made))
            if self._options.keep:
                self._go_on(state)

    def _load(self, plan: Timeline, state: StackState) -> LoadSummary:
        postgres = state.need_postgres()
        return load_backlog(
            plan,
            primary_url=postgres.primary_app_url,
            dba_url=postgres.primary_admin_url,
            kafka_bootstrap=state.need_kafka().bootstrap,
            truth_path=self._truth_path,
            source_sql=self._root / "sql" / "source",
        )

    def _live(self, plan: Timeline, state: StackState, stop: threading.Event) -> None:
        run_live(
            plan,
            primary_url=state.need_postgres().primary_app_url,
            kafka_bootstrap=state.need_kafka().bootstrap,
            truth_path=self._truth_path,
            stop=stop,
        )

    @property
    def _truth_path(self) -> Path:
        return self._stack.home / TRUTH_FILE

    def _start_consumers(self, state: StackState) -> list[str]:
        """Returns the names of their processes."""
        commands = {f"consumer-{name}": [*_fleetgauge(state), "consume", name] for name in CONSUMERS}
        return Beside(self._stack.home).start_scraped("consumers", commands, self._root)

    def _start_exporter(self, state: StackState) -> list[str]:
        commands = {"exporter": [*_fleetgauge(state), "exporter"]}
        return Beside(self._stack.home).start_scraped("rollup", commands, self._root)

    def _start_rental_api(self, state: StackState) -> list[str]:
        """A service with riders who use it, for dashboards of services; its log names its address."""
        command = [sys.executable, "-m", "fleetlab.rental_api", state.home]
        return Beside(self._stack.home).start_scraped("services", {"rental-api": command}, self._root)

    def _go_on(self, state: StackState) -> None:
        """Production's heartbeat and the schedules go on without this process, so the tables stay final up to now."""
        Beside(self._stack.home).start(
            "heartbeat", [sys.executable, "-m", "fleetlab.demo.heartbeat", str(self._stack.home)], self._root
        )
        with _airflow(state) as airflow:
            airflow.unpause(DAGS)

    def _wait_until_stored(self, settings: Settings, timeout_s: float) -> None:
        def stored() -> bool:
            return all(
                read_progress(settings.kafka, c.topic, c.group, SystemClock()).lag == 0
                for c in self._consumers(settings)
            )

        wait_for("storing all events", stored, timeout_s=timeout_s, hint="see the consumers' logs in .lab/logs")

    def _consumers(self, settings: Settings) -> list[Consumer]:
        return [load_consumer(settings.content, name) for name in CONSUMERS]

    def _roll_up(self, airflow: AirflowApi, settings: Settings, live: Future[None]) -> datetime:
        """Returns an instant up to which all has been stored, and which the last runs began after."""
        steps, timeout = self._steps, self._options.rollup_timeout_s
        hint = "see `fleetlab logs airflow` and the runs in Airflow's UI (make demo DEMO=--keep)"
        minute, hour, day = DAGS
        with steps.step("first rollup", "Airflow's scheduler rolls up the backlog"):
            airflow.unpause([minute])
            wait_for(
                "a first minute run",
                lambda: _succeeded(airflow, minute),
                timeout_s=timeout,
                hint=hint,
                poll_s=_AIRFLOW_POLL_S,
            )
            airflow.unpause([hour, day])
        with steps.step("live", "The company rides on, live"):
            _result(live)
            self._wait_until_stored(settings, 120)
            caught_up = datetime.now(UTC)
        with steps.step("last rollup", "Waiting for a minute run over the live stretch"):
            wait_for(
                "a minute run after the last event",
                lambda: _succeeded(airflow, minute, caught_up) and all(_succeeded(airflow, dag) for dag in DAGS),
                timeout_s=timeout,
                hint=hint,
                poll_s=_AIRFLOW_POLL_S,
            )
            airflow.pause(DAGS)
            # Not of the runs: what was only queued when its DAG was paused stays so.
            wait_for("the end of the last tasks", lambda: not airflow.working(), timeout_s=timeout, hint=hint)
        self.report.airflow_runs = {dag: count_states([run.state for run in airflow.runs(dag)]) for dag in DAGS}
        return caught_up


def fetch(jdk: Jdk, progress: ConsoleProgress) -> None:
    """Bring the servers that this JDK runs into the cache, if they are not there."""
    known = artifacts.bundles()
    for name in ("kafka", jdk.elasticsearch):
        artifacts.ensure(known[name], default_cache(), progress)


def _result(job: Future[T]) -> T:
    """The job's result; waits in short steps, so that Ctrl-C is heard at once."""
    while True:
        try:
            return job.result(timeout=0.5)
        except TimeoutError:
            if job.done():
                raise


def _succeeded(airflow: AirflowApi, dag_id: str, after: datetime | None = None) -> bool:
    """Whether a run that began after an instant succeeded. Raises `Terminal` when the DAG has a failed run."""
    runs = airflow.runs(dag_id)
    for run in runs:
        if run.state == "failed":
            raise Terminal(f"run {run.id} of {dag_id} failed: {'; '.join(airflow.failures(dag_id, run.id))}")
    return any(
        run.state == "success" and run.started_at is not None and (after is None or run.started_at > after)
        for run in runs
    )


def _fleetgauge(state: StackState) -> list[str]:
    return [sys.executable, "-m", "fleetgauge", "--config", state.config]


def _airflow(state: StackState) -> AirflowApi:
    login = state.need_airflow()
    return AirflowApi(login.url, login.username, login.password)
