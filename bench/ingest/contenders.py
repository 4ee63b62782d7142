"""Who takes part, and how each is started. All write to indices of the same mapping; each run has its own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.ingest.workload import TOPIC, Workload
from fleetgauge.ingest.consumer import Consumer, load_consumer
from fleetgauge.ingest.deliver.delivery import PATH
from fleetgauge.settings import Settings

ROOT = Path(__file__).parents[2]
PEERS = ROOT / "bench" / "peers"
QUIX = ROOT / ".venv-bench" / "bin" / "python"


@dataclass(frozen=True)
class Field:
    """Where a contender runs."""

    settings: Settings
    config: Path
    workload: Workload
    folder: Path
    """Scratch: content of the consumers, bodies, logs."""


@dataclass(frozen=True)
class Started:
    """A contender under way."""

    processes: Sequence[subprocess.Popen[bytes]]
    index: str
    """Its indices begin so."""

    def go(self) -> None:
        """Tell those that wait for it."""
        for process in self.processes:
            if process.stdin is not None:
                process.stdin.write(b"\n")
                process.stdin.flush()


def consumer_of(field: Field, name: str, topic: str = TOPIC) -> Consumer:
    """The project's telemetry consumer over another topic, in a content folder of its own."""
    (field.folder / "consumers").mkdir(exist_ok=True)
    if not (field.folder / "schemas").exists():
        (field.folder / "schemas").symlink_to(ROOT / "schemas")
    declared = load_consumer(ROOT, "device-events")
    (field.folder / "consumers" / f"{name.replace('-', '_')}.py").write_text(
        "from fleetgauge.ingest import Consumer\n"
        f"consumer = Consumer(name={name!r}, topic={topic!r}, contracts={declared.contracts!r}, index={name!r})\n"
    )
    return load_consumer(field.folder, name)


def fleetgauge(field: Field, name: str, processes: int = 1, topic: str = TOPIC) -> Started:
    """`fleetgauge consume` as it is."""
    consumer_of(field, name, topic)
    command = [sys.executable, "-m", "fleetgauge", "consume", name]
    return Started([_start(field, f"{name}-{number}", command) for number in range(processes)], name)


def blast(field: Field, name: str, bodies: Path) -> Started:
    """The bytes that fleetgauge sends, ready-made, over two connections."""
    file = field.folder / f"{name}.bodies"
    with bodies.open("rb") as source, file.open("wb") as target:
        while line := source.readline():
            body = source.read(int(line)).replace(b'"_index":"PREFIX-', b'"_index":"%s-' % name.encode())
            target.write(b"%d\n%s" % (len(body), body))
    command = [sys.executable, str(PEERS / "blast.py"), field.settings.elasticsearch.url, PATH, str(file)]
    return Started([_start(field, name, command, waits=True)], name)


def helpers_bulk(field: Field, name: str) -> Started:
    """kafka-python and `elasticsearch.helpers.bulk`."""
    return Started([_start(field, name, [sys.executable, str(PEERS / "helpers_bulk.py"), *_where(field, name)])], name)


def quix(field: Field, name: str) -> Started:
    """Quix Streams' sink, in an environment of its own: its pins contradict ours."""
    return Started([_start(field, name, [str(QUIX), str(PEERS / "quix_sink.py"), *_where(field, name)])], name)


def rsyslog(field: Field, name: str) -> Started:
    """rsyslog imkafka → omelasticsearch: no check, no parsing; ids are what Elasticsearch makes up."""
    server = field.settings.elasticsearch.url.removeprefix("http://")
    host, _, port = server.partition(":")
    config = field.folder / f"{name}.conf"
    config.write_text(
        f"""global(workDirectory="{field.folder}")
module(load="imkafka")
module(load="omelasticsearch")
template(name="raw" type="string" string="%msg%")
ruleset(name="out" queue.type="FixedArray" queue.size="60000" queue.dequeueBatchSize="3000" queue.workerThreads="2") {{
  action(type="omelasticsearch" server="{host}" serverport="{port}" template="raw"
         searchIndex="{name}-all" searchType="" bulkmode="on" maxbytes="8m" action.resumeRetryCount="-1")
}}
input(type="imkafka" topic="{TOPIC}" broker=["{field.settings.kafka.bootstrap_servers}"] consumergroup="{name}"
      ruleset="out" parseHostname="off" confParam=["auto.offset.reset=earliest"])
"""
    )
    command = [shutil.which("rsyslogd") or "rsyslogd", "-n", "-f", str(config), "-i", str(field.folder / f"{name}.pid")]
    return Started([_start(field, name, command)], name)


def _where(field: Field, name: str) -> tuple[str, ...]:
    return field.settings.kafka.bootstrap_servers, field.settings.elasticsearch.url, TOPIC, name


def _start(field: Field, name: str, command: Sequence[str], *, waits: bool = False) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "FLEETGAUGE_CONFIG": str(field.config),
        "FLEETGAUGE_CONTENT": str(field.folder),
        "PYTHONUNBUFFERED": "1",
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with (field.folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            command,
            cwd=field.folder,
            env=environment,
            stdin=subprocess.PIPE if waits else subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
