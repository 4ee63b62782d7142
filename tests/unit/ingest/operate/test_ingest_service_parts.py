"""Declarations, the status server and the log set-up around the ingest loop."""

from pathlib import Path

import httpx
import pytest

from fleetgauge.errors import Terminal
from fleetgauge.ingest import Consumer
from fleetgauge.ingest import consumer_metrics as m
from fleetgauge.ingest.consumer import load_consumer
from fleetgauge.ingest.operate.launch import contracts_of
from fleetgauge.observability.status_server import Check, Http, StatusServer
from fleetgauge.settings import Settings

ROOT = Path(__file__).parents[4]


def test_status_server_tells_health_readiness_and_metrics_of_each_consumer() -> None:
    wrong = ["no partitions assigned yet"]
    families = m.Families()
    m.Metrics("a", families).of(m.EVENTS, "ok").inc(3)
    m.Metrics("b", families).of(m.EVENTS, "ok").inc(4)
    well: dict[str, Check] = {"a": lambda: None, "b": lambda: None}
    ready: dict[str, Check] = {"a": lambda: None, "b": lambda: wrong[0] if wrong else None}
    server = StatusServer(Http(), families.registry, well, ready)

    def get(path: str) -> tuple[int, str]:
        answer = httpx.get(f"http://127.0.0.1:{server.port}{path}")
        return answer.status_code, answer.text

    try:
        assert get("/healthz") == (200, "a: ok\nb: ok\n")
        assert get("/readyz") == (503, "a: ok\nb: no partitions assigned yet\n")
        wrong.clear()
        assert get("/readyz") == (200, "a: ok\nb: ok\n")
        status, text = get("/metrics")
        assert status == 200
        assert 'fleetgauge_ingest_events_total{class="ok",consumer="a"} 3.0' in text
        assert 'fleetgauge_ingest_events_total{class="ok",consumer="b"} 4.0' in text
        assert get("/else")[0] == 404
        with pytest.raises(Terminal, match=f"127.0.0.1:{server.port}.*--http-port"):
            StatusServer(Http(port=server.port), families.registry, well, ready)
    finally:
        server.close()


def test_without_a_port_the_first_free_one_of_the_known_range_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    families = m.Families()
    taken = StatusServer(Http(), families.registry, {}, {})
    monkeypatch.setattr("fleetgauge.observability.status_server.PORTS", (taken.port,))
    try:
        other = StatusServer(Http(port=None), families.registry, {}, {})  # all are taken: any
        assert other.port != taken.port
        other.close()
        monkeypatch.setattr("fleetgauge.observability.status_server.PORTS", (taken.port, other.port))
        second = StatusServer(Http(port=None), families.registry, {}, {})
        assert second.port == other.port
        second.close()
    finally:
        taken.close()


def test_every_metric_is_in_the_catalogue_once_and_explained() -> None:
    names = [definition.name for definition in m.CATALOGUE]
    assert len(set(names)) == len(names)
    assert all(name.startswith("fleetgauge_ingest_") for name in names)
    assert all(definition.meaning.endswith(".") for definition in m.CATALOGUE)
    declared = {value for value in vars(m).values() if isinstance(value, m.ExportedMetric)}
    assert declared == set(m.CATALOGUE)


@pytest.mark.parametrize("path", sorted((ROOT / "consumers").glob("*.py")), ids=lambda path: path.stem)
def test_consumers_of_the_project_compile(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 30
    consumer = load_consumer(ROOT, path.stem)
    assert load_consumer(ROOT, consumer.name) == consumer
    assert contracts_of(Settings(content=ROOT), consumer).identified


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("consumer = 1", "declares no"),
        ("import nothing_of_this_name", "cannot be read"),
        ("consumer = Consumer(", "cannot be read"),
    ],
)
def test_bad_consumer_files_are_named(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "consumers").mkdir()
    (tmp_path / "consumers" / "mine.py").write_text(f"from fleetgauge.ingest import Consumer\n{text}\n")
    with pytest.raises(Terminal, match=f"mine.py.*{complaint}"):
        load_consumer(tmp_path, "mine")


@pytest.mark.parametrize("name", ["nobody", "../settings", "a/b", ""])
def test_unknown_consumers_are_answered_with_the_known_ones(name: str) -> None:
    with pytest.raises(Terminal, match="known: device_commands, device_events"):
        load_consumer(ROOT, name)


@pytest.mark.parametrize(
    "changes", [{"name": "Not Good"}, {"index": "UPPER"}, {"index": "a*"}, {"topic": "a b"}, {"requests": 0}]
)
def test_impossible_declarations_are_refused(changes: dict[str, object]) -> None:
    good: dict[str, object] = {"name": "a", "topic": "a", "contracts": ("location",), "index": "a"}
    Consumer(**good)  # type: ignore[arg-type]
    with pytest.raises(Terminal, match="must"):
        Consumer(**{**good, **changes})  # type: ignore[arg-type]


def test_a_missing_contract_is_named() -> None:
    consumer = Consumer(name="a", topic="a", contracts=("location", "teleport"), index="a")
    with pytest.raises(Terminal, match="names contract teleport"):
        contracts_of(Settings(content=ROOT), consumer)
