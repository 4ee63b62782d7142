"""docker-compose.yml without an engine: pinned, loopback only, complete, and walled off from production."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleetgauge import settings as settings_module
from fleetgauge.observability.status_server import PORTS
from own_metrics import own_metrics

ROOT = Path(__file__).parents[3]
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?::\?[^}]*)?\}")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    return found


@pytest.fixture(scope="module")
def example() -> dict[str, str]:
    lines = (ROOT / "deploy" / "compose" / ".env.example").read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_images_are_pinned_to_a_version(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        image, _, tag = service["image"].partition(":")
        assert re.search(r"\d+\.\d+", tag), f"{name}: {service['image']}"
        assert image.count("/") <= 1, f"{name}: plain image names only"
        assert "." not in image.split("/")[0], f"{name}: no registry host"


def test_ports_listen_on_loopback(compose: dict[str, Any]) -> None:
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert published
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in published)
    host_ports = [port.split(":")[1] for port in published]
    assert len(host_ports) == len(set(host_ports))


def test_every_service_is_bounded_and_watched(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert "mem_limit" in service, name
        assert service["logging"]["options"]["max-size"], name
        one_shot = service["restart"] == "no"
        assert one_shot != ("healthcheck" in service), name
        for wanted, how in service.get("depends_on", {}).items():
            ends = compose["services"][wanted]["restart"] == "no"
            assert how["condition"] == ("service_completed_successfully" if ends else "service_healthy"), (name, wanted)


def test_mounted_files_and_volumes_exist(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists(), f"{name} mounts {source}"
                assert volume.endswith(":ro"), f"{name} could change {source}"
            else:
                assert source in compose["volumes"], f"{name} uses the undeclared volume {source}"
        for network in service["networks"]:
            assert network in compose["networks"], name


def test_nothing_of_the_pipeline_reaches_production(compose: dict[str, Any]) -> None:
    services = compose["services"]
    production = set(services["primary"]["networks"])
    assert {name for name, one in services.items() if production & set(one["networks"])} == {"primary", "replica"}
    grafana = set(services["grafana"]["networks"])
    for forbidden in ("primary", "replica", "kafka", "elasticsearch"):
        assert not grafana & set(services[forbidden]["networks"]), forbidden
    for name, service in services.items():
        if name not in ("primary", "replica"):
            assert "primary" not in str(service.get("environment", "")), f"{name} knows the primary"


def test_the_example_names_every_variable(compose: dict[str, Any], example: dict[str, str]) -> None:
    used = set(VARIABLE.findall((ROOT / "docker-compose.yml").read_text("utf-8")))
    used |= {one["environment"] for one in compose["secrets"].values()}
    assert used == set(example)
    unguarded = re.findall(r"(?<!\$)\$\{\w+\}", (ROOT / "docker-compose.yml").read_text("utf-8"))
    assert not unguarded, "a missing secret must stop the start"


@pytest.mark.parametrize(
    "name", ["device-events", "device-commands", "airflow-scheduler", "migrate", "exporter", "follow"]
)
def test_engine_accepts_its_environment(
    compose: dict[str, Any], example: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLEETGAUGE_CONFIG", raising=False)
    for key, value in compose["services"][name]["environment"].items():
        if key.startswith("FLEETGAUGE_"):
            monkeypatch.setenv(key, VARIABLE.sub(lambda match: example[match[1]], value))
    found = settings_module.load()
    if name in ("airflow-scheduler", "follow"):
        assert "@replica/" in found.source("operations").url.get_secret_value()
    if name in ("migrate", "exporter"):
        assert found.metrics.url is not None
        assert (found.metrics.owner_url is not None) == (name == "migrate")
    else:
        assert found.elasticsearch.url == "http://elasticsearch:9200"
    if name.startswith("device-"):
        key = found.kafka.replay_key
        assert key is not None and key.get_secret_value() == example["FLEETGAUGE_REPLAY_KEY"]


def test_the_broker_stamps_every_event(compose: dict[str, Any]) -> None:
    """The accepted time range of an event leans on its record's time, which a producer must not choose."""
    assert any("topics.sh" in volume for volume in compose["services"]["topics"]["volumes"])
    script = (ROOT / "deploy" / "compose" / "topics.sh").read_text("utf-8")
    assert script.count("--config message.timestamp.type=LogAppendTime") == 1
    assert script.count('--topic "$topic" ') == 1


def test_consumers_exist_and_answer_where_they_are_asked(compose: dict[str, Any]) -> None:
    scraped = yaml.safe_load((ROOT / "deploy" / "compose" / "prometheus.yml").read_text("utf-8"))
    targets = set(scraped["scrape_configs"][0]["static_configs"][0]["targets"])
    consumers = {name: one for name, one in compose["services"].items() if one.get("command", [""])[0] == "consume"}
    assert targets == {f"{name}:9400" for name in consumers}
    for service in consumers.values():
        command = service["command"]
        assert command[command.index("--http-port") + 1] == "9400"
        assert ":9400/healthz" in service["healthcheck"]["test"][-1]


def test_the_exporter_answers_where_it_is_scraped(compose: dict[str, Any]) -> None:
    scraped = yaml.safe_load((ROOT / "deploy" / "compose" / "prometheus.yml").read_text("utf-8"))
    jobs = {
        one["job_name"]: one["static_configs"][0]["targets"]
        for one in scraped["scrape_configs"]
        if "static_configs" in one
    }
    assert jobs["rollup"] == ["exporter:9187"]
    service = compose["services"]["exporter"]
    assert service["command"][service["command"].index("--http-port") + 1] == "9187"
    assert ":9187/healthz" in service["healthcheck"]["test"][-1]
    prometheus = set(compose["services"]["prometheus"]["networks"])
    assert all(prometheus & set(compose["services"][name]["networks"]) for name in ("exporter", "grafana"))


def test_the_loop_answers_where_it_is_scraped(compose: dict[str, Any]) -> None:
    scraped = yaml.safe_load((ROOT / "deploy" / "compose" / "prometheus.yml").read_text("utf-8"))
    (job,) = [one for one in scraped["scrape_configs"] if one["job_name"] == "follow"]
    assert {name for one in job["dns_sd_configs"] for name in one["names"]} == {"follow"}
    sources = len({one.source for one in own_metrics().values()})
    ports = [one["port"] for one in job["dns_sd_configs"]]
    assert ports == list(PORTS)[:sources], "a process for each source, each on the first free port"
    service = compose["services"]["follow"]
    assert "--http-port" not in service["command"]
    assert all(str(port) in service["healthcheck"]["test"][-1] for port in ports)
    assert set(service["networks"]) >= set(compose["services"]["airflow-scheduler"]["networks"])
    assert service["profiles"], "for those who want it"


def test_alerts_reach_alertmanager_and_it_has_what_its_file_names(compose: dict[str, Any]) -> None:
    scraped = yaml.safe_load((ROOT / "deploy" / "compose" / "prometheus.yml").read_text("utf-8"))
    (targets,) = scraped["alerting"]["alertmanagers"][0]["static_configs"]
    assert targets["targets"] == ["alertmanager:9093"]
    service = compose["services"]["alertmanager"]
    assert set(service["networks"]) & set(compose["services"]["prometheus"]["networks"])
    inside = [volume.split(":")[1] for volume in service["volumes"]] + [one["target"] for one in service["secrets"]]
    config = (ROOT / "deploy" / "alertmanager" / "alertmanager.yml").read_text("utf-8")
    assert set(re.findall(r"api_url_file: (\S+)", config)) <= set(inside)
    folder = {str(Path(one).parent) for one in yaml.safe_load(config)["templates"]}
    assert {f"/etc/alertmanager/{name}" for name in folder} <= set(inside)
    assert {one["source"] for one in service["secrets"]} == set(compose["secrets"])


def test_grafana_is_given_all_of_its_provisioning(compose: dict[str, Any]) -> None:
    mounted = {volume.split(":")[0] for volume in compose["services"]["grafana"]["volumes"]}
    folders = (ROOT / "dashboards" / "provisioning").iterdir()
    assert {f"./dashboards/provisioning/{folder.name}" for folder in folders} <= mounted


def test_grafana_gets_what_its_provisioning_asks_for(compose: dict[str, Any]) -> None:
    given = set(compose["services"]["grafana"]["environment"])
    for path in (ROOT / "dashboards" / "provisioning").rglob("*.yaml"):
        asked = set(re.findall(r"\$\{(\w+)\}", path.read_text("utf-8")))
        assert asked <= given, path.name


def test_the_dockerfile_builds_the_targets_without_root(compose: dict[str, Any]) -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE))
    targets = {one["build"]["target"] for one in compose["services"].values() if "build" in one}
    assert targets == {"consumer", "rollup", "airflow"} <= stages
    base = text.split("AS base")[1].split("FROM ")[0]
    assert re.search(r"^USER 10001", base, re.MULTILINE)
    assert re.search(r"^FROM base AS consumer$", text, re.MULTILINE)
    assert re.search(r"^FROM base AS rollup$", text, re.MULTILINE)
    assert text.count("USER ") == 1
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    for copied in re.findall(r"^COPY (?!--from)(?:--chown=\S+ )?(.+)$", text, re.MULTILINE):
        for source in copied.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert source in kept, f"{source} is hidden by .dockerignore"


def test_a_service_runs_the_image_that_has_what_its_command_needs(compose: dict[str, Any]) -> None:
    core = {"consume", "dlq", "top", "indices", "contracts"}
    for name, service in compose["services"].items():
        target = service.get("build", {}).get("target")
        if target in ("consumer", "rollup"):
            assert (service["command"][0] in core) == (target == "consumer"), name
