"""What one test does with the secured servers: a topic, its consumer, and processes that log in as somebody."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import RetriableError
from secured_servers import Secured
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from fleetgauge.ingest.operate import install as install
from fleetgauge.kafka.kafka_clients import client_options
from fleetgauge.settings import Settings

INDEX = "device-events"


@dataclass
class Field:
    """A topic with its consumer, and what its processes read: a file of settings, and a file for each secret."""

    servers: Secured
    folder: Path
    topic: str

    def configure(self, *, kafka: str = "consumer", elasticsearch: str = "writer", **changes: Any) -> None:
        """Log in as these; `changes` (`kafka__…`, `elasticsearch__…`) win, None leaves a key out."""
        at = self.servers
        values: dict[str, Any] = {
            "kafka__bootstrap_servers": f"127.0.0.1:{at.ports['kafka']}",
            "kafka__security_protocol": "SASL_SSL",
            "kafka__sasl_mechanism": "SCRAM-SHA-512",
            "kafka__username": kafka,
            "kafka__ca_file": at.authority.ca_file,
            "elasticsearch__url": f"https://127.0.0.1:{at.ports['elasticsearch']}",
            "elasticsearch__username": elasticsearch,
            "elasticsearch__ca_file": at.authority.ca_file,
            **changes,
        }
        lines = [f"content = {json.dumps(str(self.folder))}"]
        lines += [f"{key.replace('__', '.')} = {json.dumps(str(v))}" for key, v in values.items() if v is not None]
        (self.folder / "fleetgauge.toml").write_text("\n".join(lines))
        self.secret("KAFKA__PASSWORD", at.passwords[kafka])
        self.secret("ELASTICSEARCH__PASSWORD", at.passwords[elasticsearch])

    def secret(self, name: str, value: str) -> None:
        """Write one secret to its file."""
        (self.folder / "secrets").mkdir(exist_ok=True)
        (self.folder / "secrets" / f"FLEETGAUGE_{name}").write_text(value)

    def run(self, *arguments: str, within: float = 90.0) -> subprocess.CompletedProcess[str]:
        """`fleetgauge` as a process; fails if it takes longer, or tells a secret."""
        done = subprocess.run(
            [sys.executable, "-c", "from fleetgauge.cli import main; main()", *arguments],
            env={
                **os.environ,
                "FLEETGAUGE_CONFIG": str(self.folder / "fleetgauge.toml"),
                "FLEETGAUGE_SECRETS_DIR": str(self.folder / "secrets"),
            },
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )
        told = done.stdout + done.stderr
        assert not [login for login, secret in self.servers.passwords.items() if secret in told]
        assert "Traceback" not in told, told
        return done

    def consume(self) -> subprocess.CompletedProcess[str]:
        """One run to the end of the topic."""
        return self.run("consume", self.topic, "--until-caught-up", "--json", "--http-port", "0")

    def refused(self, exit_code: int, *texts: str) -> None:
        """A run fails in this way, and nothing is committed."""
        done = self.consume()
        last = done.stderr.splitlines()[-1]
        assert done.returncode == exit_code, done.stderr
        assert last.startswith("fleetgauge: ") and not [text for text in texts if text not in last], last
        assert self.committed() == 0

    def install(self, login: str, *, dry_run: bool = False) -> list[install.InstallOutcome]:
        """`fleetgauge indices`, in this process."""
        settings = Settings(elasticsearch=self.servers.elasticsearch(login), content=self.folder)
        return install.run(settings, dry_run=dry_run)

    def send(self, *values: dict[str, Any] | bytes) -> None:
        """Produce as the operator, to both partitions."""
        options = client_options(self.servers.kafka("operator", "PLAIN"), 30)
        producer = KafkaProducer(**options, metrics_enabled=False)
        for number, value in enumerate(values):
            payload = json.dumps(value).encode() if isinstance(value, dict) else value
            producer.send(self.topic, value=payload, partition=number % 2)
        producer.flush(30)
        producer.close()

    @retry(retry=retry_if_exception_type(RetriableError), wait=wait_fixed(0.2), stop=stop_after_delay(30))
    def committed(self) -> int:
        """Records below the group's offsets. The very first group of a cluster has no coordinator for some seconds."""
        group = f"fleetgauge-{self.topic}"
        found = self.servers.admin.list_group_offsets({group: None}).get(group, {})
        return sum(at.offset for at in found.values() if at is not None and at.offset > 0)

    def dead_letters(self) -> list[bytes]:
        """The payloads that were dead-lettered."""
        reader = KafkaConsumer(
            **client_options(self.servers.kafka("operator", "PLAIN"), 30), auto_offset_reset="earliest"
        )
        tp = TopicPartition(f"{self.topic}.dlq", 0)
        reader.assign([tp])
        end, found = reader.end_offsets([tp])[tp], list[bytes]()
        while len(found) < end:
            for records in reader.poll(timeout_ms=500).values():
                found += [record.value for record in records]
        reader.close()
        return found

    def ask(self, method: str, path: str, body: Any = None, login: str = "operator") -> tuple[int, Any]:
        """Elasticsearch's answer to `login`."""
        raw = None if body is None else json.dumps(body).encode()
        answer = self.servers.node(login).request(method, path, raw)
        return answer.status, json.loads(answer.body) if answer.body else None

    def stored(self) -> set[str]:
        """The ids of all documents."""
        self.ask("POST", f"/{INDEX}-*/_refresh")
        status, found = self.ask("POST", f"/{INDEX}-*/_search", {"size": 1000, "_source": False})
        assert status == 200
        return {hit["_id"] for hit in found["hits"]["hits"]}
