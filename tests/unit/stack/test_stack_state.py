"""What is saved can be read again, by nobody else, and gives fleetgauge its settings."""

from pathlib import Path

import psycopg
import pytest

from fleetgauge.errors import Terminal
from fleetgauge.settings import load as load_settings
from fleetlab.stack import monitoring, state
from fleetlab.stack.context import Secrets
from fleetlab.stack.state import (
    SERVICES,
    AirflowState,
    ElasticsearchState,
    Endpoint,
    JavaState,
    KafkaState,
    MariadbState,
    MonitorState,
    PostgresState,
    StackState,
)

LOGINS = ("postgres", "scooter_app", "fleetgauge_reader", "fleetgauge_owner", "fleetgauge", "grafana", "analyst")


def full(home: Path) -> StackState:
    return StackState(
        home=str(home),
        config=str(home / "fleetgauge.toml"),
        java=JavaState("/jdk", 21),
        postgres=PostgresState(
            Endpoint("127.0.0.1", 1),
            Endpoint("127.0.0.1", 2),
            Endpoint("127.0.0.1", 3),
            dict.fromkeys(LOGINS, "p@ss/w"),
        ),
        kafka=KafkaState(Endpoint("127.0.0.1", 4), "4.3.1"),
        elasticsearch=ElasticsearchState(Endpoint("127.0.0.1", 5), "9.5.3"),
        airflow=AirflowState(Endpoint("127.0.0.1", 6), "3.3.2", "/airflow", "admin", "hidden"),
        prometheus=MonitorState(Endpoint("127.0.0.1", 7)),
        alertmanager=MonitorState(Endpoint("127.0.0.1", 8)),
        grafana=MonitorState(Endpoint("127.0.0.1", 9), "admin", "hidden"),
        mariadb=MariadbState(Endpoint("127.0.0.1", 9), Endpoint("127.0.0.1", 10), "dba", "hidden"),
    )


def test_round_trip_readable_by_the_owner_alone(tmp_path: Path) -> None:
    assert state.load(tmp_path) is None
    saved = full(tmp_path)
    state.save(tmp_path, saved)
    assert state.load(tmp_path) == saved
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]
    monitoring.scrape(tmp_path, "rollup", [9187])
    state.remove(tmp_path)
    assert state.load(tmp_path) is None and list(tmp_path.iterdir()) == []


def test_a_damaged_file_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"home": 1}')
    with pytest.raises(Terminal, match="fleetlab down"):
        state.load(tmp_path)


def test_passwords_are_not_shown(tmp_path: Path) -> None:
    assert "p@ss" not in repr(full(tmp_path))
    assert "hidden" not in repr(full(tmp_path))
    secrets = Secrets(tmp_path, ("one",))
    assert secrets["one"] not in repr(secrets)


def test_urls_carry_any_password() -> None:
    url = full(Path("/")).need_postgres().replica_reader_url
    parts = psycopg.conninfo.conninfo_to_dict(url)
    assert parts["password"] == "p@ss/w"
    assert parts["port"] == "2"
    assert parts["target_session_attrs"] == "standby"


def test_the_configuration_is_what_fleetgauge_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETGAUGE_CONFIG", "")  # restored afterwards: `load` sets it for child processes
    saved = full(tmp_path)
    state.write_config(Path(saved.config), saved, tmp_path / 'a "quoted" folder')
    settings = load_settings(Path(saved.config))
    postgres = saved.need_postgres()
    assert settings.kafka.bootstrap_servers == "127.0.0.1:4"
    assert settings.elasticsearch.url == "http://127.0.0.1:5"
    assert settings.metrics.url.get_secret_value() == postgres.metrics_writer_url
    assert settings.metrics.owner_url is not None
    assert settings.metrics.owner_url.get_secret_value() == postgres.metrics_owner_url
    assert settings.source("operations").url.get_secret_value() == postgres.replica_reader_url
    assert settings.content == tmp_path / 'a "quoted" folder'
    assert Path(saved.config).stat().st_mode & 0o777 == 0o600


def test_what_is_not_up_is_named(tmp_path: Path) -> None:
    nothing = StackState(home=str(tmp_path), config="")
    assert nothing.services == frozenset()
    assert full(tmp_path).services == SERVICES
    with pytest.raises(Terminal, match=r"kafka is not up.*fleetlab up kafka"):
        nothing.need_kafka()


def test_passwords_are_made_once_and_kept(tmp_path: Path) -> None:
    first = Secrets(tmp_path, ("one", "two"))
    assert first["one"] != first["two"]
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600
    later = Secrets(tmp_path, ("one", "three"))
    assert later["one"] == first["one"]
    assert later["three"]
