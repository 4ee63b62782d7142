"""Which days go, what is asked of the server, and what a cluster with lifecycle management is told."""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fleetgauge.cli.app import app
from fleetgauge.contracts import ContractSet
from fleetgauge.elasticsearch.transport import Answer, ElasticsearchBulk
from fleetgauge.errors import Stop, Terminal, Transient
from fleetgauge.ingest import Consumer
from fleetgauge.ingest.indices.event_indices import Indices
from fleetgauge.ingest.operate.index_retention import days, run
from fleetgauge.settings import Settings

EVENTS = Path(__file__).parents[4] / "schemas" / "events"
MONTH = timedelta(days=30)
Request = tuple[str, str, Any]


class RecordingBulk:
    """Elasticsearch as a list of indices; remembers what it was asked."""

    def __init__(self, *indices: str, modules: tuple[str, ...] = ("reindex",)) -> None:
        self.indices = list(indices)
        self.modules = modules
        self.requests: list[Request] = []
        self.refuse: Callable[[str, str], Answer | None] = lambda _method, _path: None

    def request(self, method: str, path: str, body: bytes | None) -> Answer:
        self.requests.append((method, path, None if body is None else json.loads(body)))
        refused = self.refuse(method, path)
        if refused is not None:
            return refused
        if path.startswith("/_cat/indices/"):
            rows = [{"index": name, "docs.count": "7", "store.size": "2097152"} for name in self.indices]
            return Answer(200, json.dumps(rows).encode())
        if path.startswith("/_nodes"):
            nodes = {"a": {"modules": [{"name": name} for name in self.modules]}}
            return Answer(200, json.dumps({"nodes": nodes}).encode())
        if method == "GET" and path.endswith("/_mapping"):
            return Answer(200, json.dumps({name: {"mappings": {}} for name in self.indices}).encode())
        if method == "DELETE":
            self.indices.remove(path[1:])
        return Answer(200, b"{}")

    def deleted(self) -> list[str]:
        return [path for method, path, _ in self.requests if method == "DELETE"]


class At:
    def __init__(self, *instant: int) -> None:
        self.instant = datetime(*instant, tzinfo=UTC)  # type: ignore[misc,arg-type]

    def now(self) -> datetime:
        return self.instant


@pytest.fixture
def content(tmp_path: Path) -> Path:
    (tmp_path / "consumers").mkdir()
    (tmp_path / "schemas" / "events").mkdir(parents=True)
    for contract in ("battery.json", "common.json"):
        shutil.copy(EVENTS / contract, tmp_path / "schemas" / "events" / contract)
    for name, retention in (("raw", "timedelta(days=30)"), ("other", "timedelta(days=10)"), ("kept", "None")):
        (tmp_path / "consumers" / f"{name}.py").write_text(
            "from datetime import timedelta\nfrom fleetgauge.ingest import Consumer\n"
            f"consumer = Consumer({name!r}, {name!r}, ('battery',), {name!r}, retention={retention})\n"
        )
    return tmp_path


def test_a_day_goes_when_all_of_it_is_older_than_the_retention(content: Path) -> None:
    names = ["raw-2026.10.21", "raw-2026.10.22", "raw-2026.10.23", "raw-2026.11.21"]
    before = RecordingBulk(*names)
    (outcome,) = run(Settings(content=content), ["raw"], clock=At(2026, 11, 21, 23, 59, 59), bulk=before)
    assert before.deleted() == ["/raw-2026.10.21"]
    assert [day.index for day in outcome.deleted] == ["raw-2026.10.21"] and outcome.kept == 3
    at = RecordingBulk(*names)
    run(Settings(content=content), ["raw"], clock=At(2026, 11, 22), bulk=at)
    assert at.deleted() == ["/raw-2026.10.21", "/raw-2026.10.22"]


def test_only_names_that_are_a_day_of_this_consumer_are_touched() -> None:
    odd = (
        "raw", "raw-", "raw-x-2020.01.01", "raw-2020.01.01-1", "raw-2020.1.1", "raw-2020.13.01", "raw-2020.02.30",
        "raw-2020-01-01", "raw-20200101", ".raw-2020.01.01", "xraw-2020.01.01", "raw-2020.01.01\n", "raw-٢٠٢٠.01.01",
    )  # fmt: skip
    assert [day.index for day in days(RecordingBulk(*odd, "raw-2020.02.29"), "raw")] == ["raw-2020.02.29"]


def test_a_dry_run_and_consumers_without_retention_delete_nothing(content: Path) -> None:
    bulk = RecordingBulk("raw-2020.01.01", "other-2020.01.01", "kept-2020.01.01")
    outcomes = run(Settings(content=content), dry_run=True, bulk=bulk)
    assert {o.consumer: [day.index for day in o.deleted] for o in outcomes} == {
        "raw": ["raw-2020.01.01"],
        "other": ["other-2020.01.01"],
    }
    assert {method for method, _, _ in bulk.requests} == {"GET"}
    with pytest.raises(Terminal, match="consumer kept declares no retention"):
        run(Settings(content=content), ["raw", "kept"], bulk=bulk)


def error(status: int, kind: str) -> Answer:
    return Answer(status, json.dumps({"error": {"type": kind, "reason": "told"}, "status": status}).encode())


@pytest.mark.parametrize(
    ("answer", "kind", "told"),
    [
        (error(403, "security_exception"), Stop, "give the login the right delete_index on other-2020.01.01"),
        (error(503, "process_cluster_event_timeout_exception"), Transient, "try again later"),
        (error(400, "new_exception"), Terminal, "400 new_exception: told"),
    ],
)
def test_one_consumers_trouble_does_not_stop_the_others(
    content: Path, answer: Answer, kind: type[Exception], told: str
) -> None:
    (content / "consumers" / "broken.py").write_text("consumer = 1\n")
    bulk = RecordingBulk("raw-2020.01.01", "other-2020.01.01")
    bulk.refuse = lambda method, path: answer if method == "DELETE" and path.startswith("/other") else None
    by_name = {outcome.consumer: outcome for outcome in run(Settings(content=content), bulk=bulk)}
    assert isinstance(by_name["other"].error, kind) and told in str(by_name["other"].error)
    assert by_name["other"].deleted == () and by_name["other"].kept == 1
    assert [day.index for day in by_name["raw"].deleted] == ["raw-2020.01.01"]
    assert isinstance(by_name["consumer file broken.py"].error, Terminal)


def test_an_index_that_somebody_else_has_just_deleted_is_gone(content: Path) -> None:
    bulk = RecordingBulk("raw-2020.01.01")
    bulk.refuse = lambda method, _path: error(404, "index_not_found_exception") if method == "DELETE" else None
    (outcome,) = run(Settings(content=content), ["raw"], bulk=bulk)
    assert outcome.error is None and len(outcome.deleted) == 1


def test_the_command_prints_lines_or_json(content: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bulk = RecordingBulk("raw-2020.01.01")
    monkeypatch.setattr(ElasticsearchBulk, "request", lambda _self, *request: bulk.request(*request))
    monkeypatch.setenv("FLEETGAUGE_CONTENT", str(content))
    plain = CliRunner().invoke(app, ["retention", "raw", "--dry-run"])
    expected = "raw: keeps 30 days; would be deleted: raw-2020.01.01 (7 documents, 2.0 MiB); kept: 0\n"
    assert plain.stdout == expected and plain.exit_code == 0
    told = json.loads(CliRunner().invoke(app, ["retention", "raw", "--json"]).stdout)
    assert told == {
        "dry_run": False,
        "consumers": [
            {
                "consumer": "raw",
                "retention_days": 30.0,
                "deleted": [{"index": "raw-2020.01.01", "documents": 7, "size_bytes": 2097152}],
                "kept": 0,
                "error": None,
            }
        ],
        "fields": [],
        "metrics": [],
        "commands": None,
    }
    assert bulk.indices == []


def test_fields_that_cannot_be_told_are_an_error_and_indices_go(content: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bulk = RecordingBulk("raw-2020.01.01")
    monkeypatch.setattr(ElasticsearchBulk, "request", lambda _self, *request: bulk.request(*request))
    monkeypatch.setenv("FLEETGAUGE_CONTENT", str(content))
    (content / "schemas" / "events" / "battery.json").write_text("{")
    done = CliRunner().invoke(app, ["retention", "raw", "--json"])
    (told,) = json.loads(done.stdout)["fields"]
    assert told["consumer"] == "raw" and "battery.json" in told["error"]
    assert isinstance(done.exception, Terminal) and bulk.indices == []


def test_a_retention_must_outlast_what_is_still_accepted() -> None:
    def declare(days_: float) -> Consumer:
        return Consumer("a", "a", ("battery",), "a", retention=timedelta(days=days_))

    assert declare(8).retention == timedelta(days=8)
    with pytest.raises(Terminal, match=r"retention of 7 days, 23:59:59.*accept_past"):
        declare(8 - 1 / 86_400)


def test_a_cluster_with_lifecycle_management_gets_a_policy_that_counts_from_the_day(contracts: ContractSet) -> None:
    bulk = RecordingBulk("raw-2020.01.01", modules=("reindex", "x-pack-ilm"))
    Indices(bulk, "raw", contracts, MONTH).prepare()
    sent = {path: body for method, path, body in bulk.requests if method == "PUT"}
    # The name's date is the begin of the day: 30 days after its end are 31 after that.
    assert sent["/_ilm/policy/fleetgauge-raw"] == {
        "policy": {"phases": {"delete": {"min_age": f"{31 * 86_400}s", "actions": {"delete": {}}}}}
    }
    wanted = {"index.lifecycle.name": "fleetgauge-raw", "index.lifecycle.parse_origination_date": True}
    settings = sent["/_index_template/fleetgauge-raw"]["template"]["settings"]
    assert {key: settings[key] for key in wanted} == wanted
    assert sent["/raw/_settings"] == wanted  # indices that are there already
    assert [path for _, path, _ in bulk.requests].index("/_ilm/policy/fleetgauge-raw") < [
        path for _, path, _ in bulk.requests
    ].index("/_index_template/fleetgauge-raw")


@pytest.mark.parametrize(("modules", "retention"), [(("reindex",), MONTH), (("x-pack-ilm",), None)])
def test_no_policy_without_lifecycle_management_or_without_retention(
    contracts: ContractSet, modules: tuple[str, ...], retention: timedelta | None
) -> None:
    bulk = RecordingBulk(modules=modules)
    Indices(bulk, "raw", contracts, retention).prepare()
    assert not [path for _, path, _ in bulk.requests if "_ilm" in path or path.endswith("_settings")]
    assert "lifecycle" not in json.dumps([body for _, _, body in bulk.requests])
