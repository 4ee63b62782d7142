"""Where settings come from, which of them wins, and what is refused; no secret is ever in what is said about it."""

from pathlib import Path

import pytest

from fleetgauge.errors import Terminal
from fleetgauge.settings import Settings, load, origins

CONFIG = """
[kafka]
bootstrap_servers = "broker:9093"
security_protocol = "SASL_SSL"
sasl_mechanism = "SCRAM-SHA-512"
username = "consumer"
password = "from-toml"

[sources.operations]
url = "postgresql://reader@replica/scooter"
"""


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    config, folder = tmp_path / "fleetgauge.toml", tmp_path / "secrets"
    config.write_text(CONFIG)
    folder.mkdir()
    monkeypatch.setenv("FLEETGAUGE_CONFIG", str(config))
    monkeypatch.setenv("FLEETGAUGE_SECRETS_DIR", str(folder))
    return folder


def password(settings: Settings) -> str:
    assert settings.kafka.password is not None
    return settings.kafka.password.get_secret_value()


def test_environment_over_secret_files_over_toml(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert password(load()) == "from-toml"
    (secrets / "FLEETGAUGE_KAFKA__PASSWORD").write_text("from-file\n")
    (secrets / "somebody-elses").write_text("not ours")
    settings = load()
    assert password(settings) == "from-file" and settings.kafka.username == "consumer"
    monkeypatch.setenv("FLEETGAUGE_KAFKA__PASSWORD", "from-environment")
    assert password(load()) == "from-environment"


def test_every_secret_can_be_a_file_as_kubernetes_links_it(secrets: Path) -> None:
    names = {
        "FLEETGAUGE_ELASTICSEARCH__API_KEY": "bm90OmFueWJvZHk=",
        "FLEETGAUGE_METRICS__URL": "postgresql://fleetgauge:metrics-pw@db/metrics",
        "FLEETGAUGE_SOURCES__OPERATIONS__URL": "postgresql://reader:replica-pw@replica/scooter",
    }
    (secrets / "..2026_11_21").mkdir()
    (secrets / "..data").symlink_to("..2026_11_21")
    for name, value in names.items():
        (secrets / "..2026_11_21" / name).write_text(value)
        (secrets / name).symlink_to(f"..data/{name}")
    settings = load()
    assert settings.elasticsearch.api_key is not None
    found = [settings.elasticsearch.api_key, settings.metrics.url, settings.source("operations").url]
    assert [secret.get_secret_value() for secret in found] == list(names.values())
    assert not any(value in f"{settings!r} {settings}" for value in (*names.values(), "metrics-pw", "replica-pw"))


def test_a_missing_folder_or_a_misspelt_secret_is_told(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (secrets / "FLEETGAUGE_KAFKA__PASSWROD").write_text("hunter2")
    with pytest.raises(Terminal, match=r"kafka\.passwrod") as told:
        load()
    assert "hunter2" not in str(told.value)
    monkeypatch.setenv("FLEETGAUGE_SECRETS_DIR", str(secrets / "none"))
    with pytest.raises(Terminal, match="none"):
        load()


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"KAFKA__SECURITY_PROTOCOL": "SASL_SSL"}, "SASL_SSL needs sasl_mechanism, username, password too"),
        ({"ELASTICSEARCH__USERNAME": "writer"}, "username and password go together"),
        ({"ELASTICSEARCH__URL": "https://writer:hunter2@es:9200"}, "it must not hold a login"),
        ({"KAFKA": "hunter2"}, "error parsing value for field"),
    ],
)
def test_half_a_login_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in variables.items():
        monkeypatch.setenv(f"FLEETGAUGE_{name}", value)
    with pytest.raises(Terminal, match=told) as error:
        load()
    assert "hunter2" not in str(error.value)


def test_it_is_told_where_each_value_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toml, secrets = tmp_path / "f.toml", tmp_path / "secrets"
    toml.write_text('[metrics]\nurl = "postgresql://a@b/c"\n[kafka]\nbootstrap_servers = "k:1"\n')
    secrets.mkdir()
    (secrets / "FLEETGAUGE_KAFKA__PASSWORD").write_text("hidden")
    monkeypatch.setenv("FLEETGAUGE_CONFIG", str(toml))
    monkeypatch.setenv("FLEETGAUGE_SECRETS_DIR", str(secrets))
    monkeypatch.setenv("FLEETGAUGE_METRICS__URL", "postgresql://x@y/z")
    found = origins()
    assert found["kafka.bootstrap_servers"] == str(toml)
    assert found["metrics.url"] == "variable FLEETGAUGE_METRICS__URL"
    assert found["kafka.password"] == f"file FLEETGAUGE_KAFKA__PASSWORD in {secrets}"
    assert "hidden" not in str(found)
