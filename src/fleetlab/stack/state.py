"""What is up and how to reach it: typed, and kept in `<home>/run/state.json`, readable by the owner alone."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar
from urllib.parse import quote

import msgspec

from fleetgauge.errors import Terminal

Service: TypeAlias = Literal[
    "postgres", "kafka", "elasticsearch", "airflow", "mariadb", "prometheus", "alertmanager", "grafana"
]
CORE: frozenset[Service] = frozenset({"postgres", "kafka", "elasticsearch", "airflow"})
"""What the pipeline needs. Of the others, MariaDB is a second source for who asks for it; the rest only look at the
pipeline. They are there where the machine has them."""
SERVICES: frozenset[Service] = frozenset({*CORE, "mariadb", "prometheus", "alertmanager", "grafana"})
PostgresServer: TypeAlias = Literal["primary", "replica", "metrics"]
MariadbServer: TypeAlias = Literal["primary", "replica"]

SCRAPED = "scrape-"
"""How files begin that name what Prometheus scrapes; what stands there runs beside the servers."""

_T = TypeVar("_T")

PRODUCTION_DATABASE = "scooter"
METRICS_DATABASE = "metrics"
AIRFLOW_DATABASE = "airflow"
DISTINCT_KEY = "of-the-laboratory-and-therefore-no-secret"
"""`rollup.distinct_key` of the laboratory."""


@dataclass(frozen=True)
class Endpoint:
    """A loopback address."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class PostgresState:
    """Production's primary, its streaming replica, and the metrics cluster."""

    primary: Endpoint
    replica: Endpoint
    metrics: Endpoint
    passwords: dict[str, str] = field(repr=False)
    """By login."""

    def url(self, server: PostgresServer, login: str, database: str) -> str:
        """A libpq URL with the login's password; usable by psycopg, psql and SQLAlchemy."""
        end: Endpoint = getattr(self, server)
        return f"postgresql://{login}:{quote(self.passwords[login], safe='')}@{end.host}:{end.port}/{database}"

    @property
    def primary_admin_url(self) -> str:
        """Production as its DBA (superuser)."""
        return self.url("primary", "postgres", PRODUCTION_DATABASE)

    @property
    def primary_app_url(self) -> str:
        """Production as the scooter application, which owns the database."""
        return self.url("primary", "scooter_app", PRODUCTION_DATABASE)

    @property
    def replica_admin_url(self) -> str:
        """The replica as superuser: for proofs (`pg_stat_statements`) and tests, never for the pipeline."""
        return self.url("replica", "postgres", PRODUCTION_DATABASE)

    @property
    def replica_reader_url(self) -> str:
        """The replica as the pipeline reads it; refuses to connect to a server that is not in recovery."""
        return self.url("replica", "fleetgauge_reader", PRODUCTION_DATABASE) + "?target_session_attrs=standby"

    @property
    def metrics_admin_url(self) -> str:
        """The metrics cluster as superuser: for tests."""
        return self.url("metrics", "postgres", METRICS_DATABASE)

    @property
    def metrics_owner_url(self) -> str:
        """The metrics database as its owner, who migrates it."""
        return self.url("metrics", "fleetgauge_owner", METRICS_DATABASE)

    @property
    def metrics_writer_url(self) -> str:
        """The metrics database as the pipeline writes it."""
        return self.url("metrics", "fleetgauge", METRICS_DATABASE)

    @property
    def grafana_url(self) -> str:
        """The metrics database as Grafana reads it."""
        return self.url("metrics", "grafana", METRICS_DATABASE)

    @property
    def analyst_url(self) -> str:
        """The metrics database as analysts read it."""
        return self.url("metrics", "analyst", METRICS_DATABASE)

    @property
    def airflow_url(self) -> str:
        """Airflow's metadata database."""
        return self.url("metrics", "airflow", AIRFLOW_DATABASE)


@dataclass(frozen=True)
class KafkaState:
    """One broker."""

    endpoint: Endpoint
    version: str

    @property
    def bootstrap(self) -> str:
        """For `bootstrap_servers`."""
        return str(self.endpoint)


@dataclass(frozen=True)
class ElasticsearchState:
    """One node."""

    endpoint: Endpoint
    version: str

    @property
    def url(self) -> str:
        """Plain HTTP: the stack listens on loopback only."""
        return f"http://{self.endpoint}"


@dataclass(frozen=True)
class AirflowState:
    """Scheduler, API server and DAG processor."""

    endpoint: Endpoint
    version: str
    home: str
    """AIRFLOW_HOME; set it to use the `airflow` command on this stack."""
    username: str
    password: str = field(repr=False)

    @property
    def url(self) -> str:
        """User interface and REST API."""
        return f"http://{self.endpoint}"


@dataclass(frozen=True)
class MonitorState:
    """Prometheus, Alertmanager or Grafana."""

    endpoint: Endpoint
    username: str = ""
    """Who may change something, where there is a login."""
    password: str = field(default="", repr=False)

    @property
    def url(self) -> str:
        """The page for people."""
        return f"http://{self.endpoint}"


@dataclass(frozen=True)
class MariadbState:
    """A second production database: primary and replica."""

    primary: Endpoint
    replica: Endpoint
    login: str
    """Its DBA."""
    password: str = field(repr=False)

    def url(self, server: MariadbServer, login: str, password: str, database: str) -> str:
        """As fleetgauge's settings have it; the servers listen on loopback only, without TLS."""
        end: Endpoint = getattr(self, server)
        return f"mariadb://{login}:{quote(password, safe='')}@{end}/{database}?ssl_mode=disabled"


@dataclass(frozen=True)
class JavaState:
    """The JDK that runs Kafka and Elasticsearch."""

    home: str
    version: int


@dataclass(frozen=True)
class StackState:
    """A running stack; the part of a service that is not up is None."""

    home: str
    config: str
    """The file for FLEETGAUGE_CONFIG."""
    java: JavaState | None = None
    postgres: PostgresState | None = None
    kafka: KafkaState | None = None
    elasticsearch: ElasticsearchState | None = None
    airflow: AirflowState | None = None
    prometheus: MonitorState | None = None
    alertmanager: MonitorState | None = None
    grafana: MonitorState | None = None
    mariadb: MariadbState | None = None

    @property
    def services(self) -> frozenset[Service]:
        """What is up."""
        return frozenset(name for name in SERVICES if getattr(self, name) is not None)

    def need_postgres(self) -> PostgresState:
        """The Postgres part; raises `Terminal` if it is not up. So do its sisters."""
        return _need(self.postgres, "postgres")

    def need_kafka(self) -> KafkaState:
        """The Kafka part."""
        return _need(self.kafka, "kafka")

    def need_elasticsearch(self) -> ElasticsearchState:
        """The Elasticsearch part."""
        return _need(self.elasticsearch, "elasticsearch")

    def need_airflow(self) -> AirflowState:
        """The Airflow part."""
        return _need(self.airflow, "airflow")

    def need_prometheus(self) -> MonitorState:
        """The Prometheus part."""
        return _need(self.prometheus, "prometheus")

    def need_grafana(self) -> MonitorState:
        """The Grafana part."""
        return _need(self.grafana, "grafana")

    def need_mariadb(self) -> MariadbState:
        """The MariaDB part."""
        return _need(self.mariadb, "mariadb")


def _need(part: _T | None, name: str) -> _T:
    if part is None:
        raise Terminal(f"{name} is not up in this stack; start it with `fleetlab up {name}`")
    return part


def load(run: Path) -> StackState | None:
    """The saved state, or None if nothing is up. Raises `Terminal` if the file is damaged."""
    path = run / "state.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=StackState)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise Terminal(f"{path} cannot be read ({error}); run `fleetlab down` and start again") from error


def save(run: Path, state: StackState) -> None:
    """Write the state, and the configuration file for fleetgauge beside it."""
    write_private(run / "state.json", msgspec.json.format(msgspec.json.encode(state), indent=2).decode())


def remove(run: Path) -> None:
    """Forget what is up."""
    for path in (run / "state.json", run / "fleetgauge.toml", *run.glob(f"{SCRAPED}*.json")):
        path.unlink(missing_ok=True)


def write_config(path: Path, state: StackState, content: Path) -> None:
    """Write the TOML file that `fleetgauge.settings.load` reads, with the services that are up."""
    sections: list[tuple[str, dict[str, str]]] = [("", {"content": str(content)})]
    if state.kafka:
        sections.append(("kafka", {"bootstrap_servers": state.kafka.bootstrap, "replay_key": "of-the-laboratory"}))
    if state.elasticsearch:
        sections.append(("elasticsearch", {"url": state.elasticsearch.url}))
    sections.append(("rollup", {"distinct_key": DISTINCT_KEY}))
    if state.postgres:
        metrics = {"url": state.postgres.metrics_writer_url, "owner_url": state.postgres.metrics_owner_url}
        sections.append(("metrics", metrics))
        sections.append(("sources.operations", {"url": state.postgres.replica_reader_url}))
    lines = ["# Written by `fleetlab up`; the ports change, so do not edit it."]
    for name, values in sections:
        lines += ["", f"[{name}]"] if name else [""]
        lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    write_private(path, "\n".join(lines) + "\n")


def write_private(path: Path, text: str) -> None:
    """Replace a file at once, readable by its owner alone from the first byte on."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)
    partial.replace(path)
