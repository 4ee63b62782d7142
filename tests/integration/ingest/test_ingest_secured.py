"""Servers that trust nobody: the right logins work from topic to index, and each that lacks something says what.

Whatever is refused: the process ends soon, with one sentence that names the fix, without a secret, and nothing is
committed.
"""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kafka.admin import ACLOperation, ResourceType
from pydantic import SecretStr
from secured_field import INDEX, Field
from secured_servers import Authority, Grant, Secured, secured

from fleetgauge.clock import SystemClock
from fleetgauge.commands.pages import ElasticsearchDocuments
from fleetgauge.document_sources import event_streams
from fleetgauge.elasticsearch.transport import ElasticsearchBulk
from fleetgauge.errors import Stop, Terminal
from fleetgauge.ingest.deadletters.dead_letter_topic import opened
from fleetgauge.ingest.operate import index_retention as retention
from fleetgauge.kafka.kafka_clients import client_options
from fleetgauge.progress.offsets import read_progress
from fleetgauge.rollup import load_definitions
from fleetgauge.rollup.sources.elasticsearch import ElasticsearchSource
from fleetgauge.settings import ElasticsearchSettings, Settings

ROOT = Path(__file__).parents[3]
MACHINE = "machine"
LOGINS = ("consumer", "no-group", "no-dlq", "stranger")
ROLES = {
    "installer": "fleetgauge_installer",
    "writer": "fleetgauge_ingest_writer",
    "reader": "fleetgauge_ingest_reader",
    "retention": "fleetgauge_retention",
    "narrow": "narrow",
}
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
BEFORE = TODAY - timedelta(days=1)
NARROW = f"""
narrow:
  cluster: ["indices:admin/index_template/get"]
  indices:
    - names: ["{INDEX}", "{INDEX}-*"]
      privileges: [create_index, view_index_metadata]
    - names: ["{INDEX}-{TODAY:%Y.%m.%d}"]
      privileges: [create_doc]
"""


@pytest.fixture(scope="module")
def servers() -> Iterator[Secured]:
    with secured(LOGINS, ROLES, NARROW) as started:
        yield started


@pytest.fixture
def field(servers: Secured, tmp_path: Path) -> Iterator[Field]:
    """All grants for `consumer`, all but one for `no-group` and `no-dlq`; no template yet."""
    topic = f"sec-{uuid4().hex[:8]}"
    (tmp_path / "schemas").symlink_to(ROOT / "schemas")
    (tmp_path / "consumers").mkdir()
    (tmp_path / "consumers" / f"{topic.replace('-', '_')}.py").write_text(
        "from fleetgauge.ingest import Consumer\n"
        f"consumer = Consumer(name={topic!r}, topic={topic!r}, contracts=('location', 'battery'), index={INDEX!r})\n"
    )
    servers.topic(topic, 2)
    read, write, create = ACLOperation.READ, ACLOperation.WRITE, ACLOperation.CREATE
    of_topic, of_group = ResourceType.TOPIC, ResourceType.GROUP
    logins = (*LOGINS[:3], f"CN={MACHINE}")
    grants = [Grant(login, read, of_topic, topic) for login in logins]
    grants += [Grant(login, read, of_group, f"fleetgauge-{topic}") for login in logins if login != "no-group"]
    grants += [Grant(login, write, of_topic, f"{topic}.dlq") for login in logins if login != "no-dlq"]
    grants += [Grant(login, create, of_topic, f"{topic}.dlq") for login in logins]
    grants += [Grant("no-dlq", ACLOperation.DESCRIBE, of_topic, f"{topic}.dlq")]
    servers.grant(grants)
    made = Field(servers, tmp_path, topic)
    made.configure()
    yield made
    for index in made.ask("GET", f"/{INDEX}-*/_settings")[1]:
        assert made.ask("DELETE", f"/{index}")[0] == 200
    assert made.ask("DELETE", f"/_index_template/fleetgauge-{INDEX}")[0] in (200, 404)


@pytest.fixture
def installed(field: Field) -> Field:
    """With the template."""
    assert [one.changed for one in field.install("installer")] == [True]
    return field


def events(event: Callable[..., dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Half of them of today, half of the day before."""
    days = [int(day.timestamp() * 1000) for day in (TODAY, BEFORE)]
    return [event(number, timestamp=days[number // 2 % 2]) for number in range(count)]


def test_with_the_rights_it_needs_and_no_more_a_consumer_works(field: Field, event: Any, id_of: Any) -> None:
    good = events(event, 40)
    field.send(*good, b"broken", b"{}")
    field.refused(70, "/_index_template/fleetgauge-device-events", "403", "run `fleetgauge indices`")
    assert not field.stored()

    assert [one.changed for one in field.install("installer", dry_run=True)] == [True], "which changes nothing"
    field.configure(elasticsearch="installer")
    assert field.run("indices").stdout == f"{field.topic}: template and fields of {INDEX}-*: installed\n"
    field.configure()
    done = field.consume()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["events"] == {"ok": 40, "duplicate": 0, "poison": 2}
    assert field.stored() == set(map(id_of, good)) and sorted(field.dead_letters()) == [b"broken", b"{}"]
    assert field.committed() == 42
    assert [one.changed for one in field.install("writer", dry_run=True)] == [False], "and who may write may look"

    topic = f"{field.topic}.dlq"
    with opened(field.servers.kafka("operator", "PLAIN"), topic) as dead_letters:
        assert len(dead_letters.index().dead_letters) == 2
    told = pytest.raises(Stop, match=r"TopicAuthorizationFailed.* give the login the right to READ the topic")
    with told, opened(field.servers.kafka("consumer"), topic) as dead_letters:
        dead_letters.index()

    field.send({**good[0], "speed": 1.5})
    done = field.consume()
    assert done.returncode == 0 and "another document is stored under the id" in done.stderr, done.stderr


def test_a_wrong_password_is_told_at_once(installed: Field, event: Any) -> None:
    installed.send(event(1))
    installed.secret("KAFKA__PASSWORD", "not-the-password")
    started = time.monotonic()
    installed.refused(70, "refuses the login", "kafka.password")
    assert time.monotonic() - started < 25, "nothing is tried again for its 30 s"
    installed.configure()
    installed.secret("ELASTICSEARCH__PASSWORD", "not-the-password")
    installed.refused(70, "401", "check elasticsearch.api_key, or username and password")


def test_a_server_that_is_not_trusted_gets_no_password(installed: Field, event: Any) -> None:
    installed.send(event(1))
    with pytest.raises(Stop, match="is not trusted"):
        client_options(installed.servers.kafka("consumer", ca_file=None), 30)
    other = Authority(installed.folder, "other-ca").ca_file
    installed.configure(kafka__ca_file=other)
    installed.refused(70, "is not trusted", "kafka.ca_file")
    installed.configure(elasticsearch__ca_file=other)
    installed.refused(70, "is not trusted", "elasticsearch.ca_file")


@pytest.mark.parametrize(
    ("login", "exit_code", "texts"),
    [
        ("stranger", 78, ("may not DESCRIBE it",)),
        ("no-group", 70, ("GroupAuthorizationFailed", "give the login the right")),
        (
            "no-dlq",
            70,
            ("dead letters cannot be written", "AuthorizationFailed", "give the login the right to WRITE to it"),
        ),
    ],
)
def test_a_missing_right_in_kafka_is_named(
    installed: Field, event: Any, login: str, exit_code: int, texts: tuple[str, ...]
) -> None:
    installed.send(event(1), event(2), b"broken")
    installed.configure(kafka=login)
    installed.refused(exit_code, *texts)
    if login == "no-dlq":  # the one that has stored something
        installed.configure()
        done = installed.consume()
        assert done.returncode == 0 and installed.committed() == 3 and installed.dead_letters() == [b"broken"]


def test_a_day_that_may_not_be_written_stops_the_consumer_and_a_restart_heals_it(
    installed: Field, event: Any, id_of: Any
) -> None:
    good = events(event, 40)
    installed.send(*good)
    installed.configure(elasticsearch="narrow")
    installed.refused(70, "got 403 security_exception", "that the role may create_doc on the index")
    assert len(installed.stored()) == 20, "those of the day that may be written"
    installed.configure()
    done = installed.consume()
    assert json.loads(done.stdout)["events"] == {"ok": 20, "duplicate": 20, "poison": 0}, done.stderr
    assert installed.stored() == set(map(id_of, good)) and installed.committed() == 40


def test_a_client_certificate_is_a_login(field: Field, event: Any) -> None:
    field.send(event(1))
    cert_file, key_file = field.servers.authority.issue(MACHINE)
    mutual = field.servers.kafka("consumer").model_copy(
        update={"bootstrap_servers": f"127.0.0.1:{field.servers.ports['kafka-mtls']}", "security_protocol": "SSL"}
    )
    known = mutual.model_copy(update={"cert_file": cert_file, "key_file": key_file})
    assert read_progress(known, field.topic, f"fleetgauge-{field.topic}", SystemClock()).lag == 1
    started = time.monotonic()
    with pytest.raises(Stop, match=r"check kafka\.security_protocol, and kafka\.cert_file"):
        read_progress(mutual, field.topic, "any", SystemClock())
    other_key = field.servers.authority.issue("another")[1]
    with pytest.raises(Terminal, match="belong together"):
        read_progress(known.model_copy(update={"key_file": other_key}), field.topic, "any", SystemClock())
    locked = field.folder / "locked.key"
    subprocess.run(
        ["openssl", "pkcs8", "-topk8", "-in", key_file, "-out", locked, "-passout", "pass:secret"], check=True
    )
    with pytest.raises(Terminal, match="not encrypted"):
        read_progress(known.model_copy(update={"key_file": locked}), field.topic, "any", SystemClock())
    assert time.monotonic() - started < 25, "nothing is tried again for its 30 s"


def test_roles_may_do_what_they_are_for_and_nothing_else(installed: Field) -> None:
    day, known, document = f"{INDEX}-{TODAY:%Y.%m.%d}", "known", {"timestamp": 1}
    everything = {"query": {"match_all": {}}}
    tried: dict[str, tuple[str, str, Any]] = {
        "create": ("PUT", f"/{day}/_create/new", document),
        "overwrite": ("PUT", f"/{day}/_doc/{known}", document),
        "update": ("POST", f"/{day}/_update/{known}", {"doc": document}),
        "delete document": ("DELETE", f"/{day}/_doc/{known}", None),
        "fetch": ("GET", f"/{day}/_doc/{known}", None),
        "search": ("POST", f"/{INDEX}/_search", everything),
        "refresh": ("POST", f"/{INDEX}/_refresh", None),
        "map": ("PUT", f"/{day}/_mapping", {"properties": {"extra": {"type": "long"}}}),
        "template": ("PUT", "/_index_template/mine", {"index_patterns": ["mine-*"]}),
        "other index": ("PUT", "/mine-1", None),
        "cluster": ("PUT", "/_cluster/settings", {"persistent": {"action.auto_create_index": "false"}}),
        "delete day": ("DELETE", f"/{day}", None),
    }

    def allowed(login: str) -> set[str]:
        installed.ask("PUT", f"/{day}/_doc/{known}", document)  # creates the day again that somebody was free to delete
        answers = {what: installed.ask(*request, login=login) for what, request in tried.items()}
        assert not {what: told for what, told in answers.items() if told[0] not in (200, 201, 403, 409)}
        return {what for what, (status, _) in answers.items() if status != 403}

    assert allowed("writer") == {"create", "fetch", "map"}, "create_doc brings new fields, which harms nothing"
    assert allowed("narrow") == {"create", "map"}
    assert allowed("reader") == {"fetch", "search", "refresh"}
    assert allowed("retention") == {
        "delete day",
        "search",
        "fetch",
        "refresh",
        "create",
        "overwrite",
        "update",
        "map",
    }, "it writes documents anew without what is kept shorter"
    assert allowed("installer") == {"map", "template", "refresh", "delete day"}
    installed.ask("DELETE", "/_index_template/mine")


def test_the_reader_follows_and_the_deleter_deletes(installed: Field) -> None:
    assert installed.ask("PUT", "/device-commands-2020.01.01", {"aliases": {"device-commands": {}}})[0] == 200
    try:
        pages = ElasticsearchDocuments(installed.servers.elasticsearch("reader"))
        assert list(pages.pages("device-commands", None)) == []
        with pytest.raises(Stop, match="403"):
            list(pages.pages("somebody-elses", None))
        (installed.folder / "consumers" / "device_commands.py").write_text(
            "from datetime import timedelta\n\nfrom fleetgauge.ingest import Consumer\n\nconsumer = Consumer(\n"
            "    name='device-commands', topic='c', contracts=('command',), index='device-commands',\n"
            "    retention=timedelta(days=30),\n)\n"
        )
        mine = Settings(elasticsearch=installed.servers.elasticsearch("retention"), content=installed.folder)
        (outcome,) = retention.run(mine, ["device-commands"])
        assert outcome.error is None
        assert [day.index for day in outcome.deleted] == ["device-commands-2020.01.01"]
    finally:
        installed.ask("DELETE", "/device-commands-2020.01.01")


def test_the_reader_rolls_up_and_the_writer_may_not(installed: Field, event: Any) -> None:
    installed.send(*events(event, 4))
    assert installed.consume().returncode == 0
    metric = load_definitions(ROOT)["telemetry"]
    known = event_streams(ROOT, [metric])["device_events"]
    stream = replace(known, topic=installed.topic, group=f"fleetgauge-{installed.topic}")

    def first_event(login: str) -> datetime | None:
        at = Settings(kafka=installed.servers.kafka("consumer"), elasticsearch=installed.servers.elasticsearch(login))
        source = ElasticsearchSource("device_events", stream, at, SystemClock())
        with closing(source), source.look(metric) as facts:
            return facts.first_event()

    assert first_event("reader") is not None
    with pytest.raises(Stop, match=r"give the login read, maintenance and view_index_metadata on device-events"):
        first_event("writer")


def test_an_api_key_is_sent_as_elasticsearch_wants_it() -> None:
    """The embedded node gives out no keys, so a stub answers in its words."""
    seen: list[str | None] = []

    class Node(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["authorization"])
            good = seen[-1] == "ApiKey aWQ6a2V5"
            error = {"type": "security_exception", "reason": "missing authentication credentials for REST request"}
            body = json.dumps({} if good else {"error": error, "status": 401}).encode()
            self.send_response(200 if good else 401)
            self.send_header("x-elastic-product", "Elasticsearch")
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Node) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        for key, status in ((SecretStr("aWQ6a2V5"), 200), (SecretStr("bm90OnRoaXM="), 401), (None, 401)):
            bulk = ElasticsearchBulk(ElasticsearchSettings(url=url, api_key=key))
            assert bulk.request("GET", "/", None).status == status
            bulk.close()
        server.shutdown()
    assert seen == ["ApiKey aWQ6a2V5", "ApiKey bm90OnRoaXM=", None]
