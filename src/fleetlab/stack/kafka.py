"""One Kafka broker in KRaft mode."""

import base64
import os
import shutil
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from fleetlab.stack import artifacts, class_archive
from fleetlab.stack.context import Context
from fleetlab.stack.java import Jdk, more_options
from fleetlab.stack.ports import LOOPBACK, is_open
from fleetlab.stack.state import Endpoint, KafkaState

NAME = "kafka"
PORTS = ("kafka", "kafka-controller")
_START_S = 90
_MADE, _FEATURES = "meta.properties", "bootstrap.checkpoint"
_NODE = 1

_LOGGING = """\
status = warn
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}] %p %m (%c)%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
"""


def start(context: Context, jdk: Jdk, *, settings: Mapping[str, object] | None = None) -> None:
    """Start the broker, formatting its storage the first time; blocks until it listens. Raises `Terminal`.

    `settings` replaces or adds lines of its configuration, as a broker with logins needs.
    """
    bundle = artifacts.bundles()["kafka"]
    jars = context.fetch(bundle)
    folder = context.layout.server_folder(NAME)
    configuration, logging, logs = folder / "server.properties", folder / "log4j2.properties", folder / "logs"
    configuration.write_text(_properties(context, logs, settings or {}), encoding="utf-8")
    logging.write_text(_LOGGING, encoding="utf-8")
    context.layout.user.own(folder)
    archived, archiving = class_archive.options(context, jdk, bundle.folder, folder)
    java = [*_java(jdk, jars, folder, logging), *archived]
    log = context.log(NAME)
    if not (logs / _MADE).is_file():
        _format(context, java, folder, logs, configuration, context.cache / f"{bundle.folder}-formatted")
    context.processes.spawn(
        NAME,
        [*java, "-Xms256m", "-Xmx512m", *more_options(), *archiving, "kafka.Kafka", configuration],
        log=log,
        user=context.layout.user,
        environment=_environment(folder),
    )
    context.processes.wait_ready(NAME, lambda: is_open(context.ports["kafka"]), log=log, timeout_s=_START_S)


def _format(
    context: Context, java: list[str | Path], folder: Path, logs: Path, configuration: Path, kept: Path
) -> None:
    """Make empty storage: the first time with Kafka's own tool, a second of processor time, later from what it wrote
    then, which holds the features of this version and nothing of a cluster.
    """
    if (kept / _FEATURES).is_file():
        logs.mkdir(exist_ok=True)
        shutil.copyfile(kept / _FEATURES, logs / _FEATURES)
        ids = f"cluster.id={_new_id()}\ndirectory.id={_new_id()}\n"
        (logs / _MADE).write_text(f"version=1\nnode.id={_NODE}\n{ids}", encoding="utf-8")  # last: it says all is there
        context.layout.user.own(logs)
        return
    tool = ["-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "kafka.tools.StorageTool"]
    context.processes.run(
        f"{NAME}-format",
        [*java, *tool, "format", "-t", _new_id(), "-c", configuration],
        log=context.log(NAME),
        user=context.layout.user,
        environment=_environment(folder),
    )
    with suppress(OSError):  # without it the next one only takes longer
        kept.mkdir(parents=True, exist_ok=True)
        partial = kept / f".{os.getpid()}"
        shutil.copyfile(logs / _FEATURES, partial)
        partial.replace(kept / _FEATURES)


def state(context: Context) -> KafkaState:
    """How to reach the broker."""
    return KafkaState(Endpoint(LOOPBACK, context.ports["kafka"]), artifacts.bundles()["kafka"].version)


def _java(jdk: Jdk, jars: Path, folder: Path, logging: Path) -> list[str | Path]:
    return [
        jdk.java,
        "-cp",
        f"{jars}/*",
        f"-Djava.io.tmpdir={folder}",
        f"-Dlog4j2.configurationFile={logging}",
        "-Djava.awt.headless=true",
        "-XX:+UseG1GC",
        "-XX:-UsePerfData",
        "-XX:+ExitOnOutOfMemoryError",
    ]


def _environment(folder: Path) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "HOME": str(folder), "LC_ALL": "C.UTF-8"}


def _new_id() -> str:
    """Of a cluster or a directory: 22 characters of base64; the tool would take a leading dash for an option."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def _properties(context: Context, logs: Path, settings: Mapping[str, object]) -> str:
    client, controller = context.ports["kafka"], context.ports["kafka-controller"]
    values = {
        "process.roles": "broker,controller",
        "node.id": _NODE,
        "controller.quorum.voters": f"{_NODE}@{LOOPBACK}:{controller}",
        "listeners": f"PLAINTEXT://{LOOPBACK}:{client},CONTROLLER://{LOOPBACK}:{controller}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{client}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": logs,
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 2,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        # A simulated backlog carries the timestamps of days ago: retention by time would delete it at once,
        # and the default limits could refuse it.
        "log.retention.ms": -1,
        "log.message.timestamp.before.max.ms": 2**63 - 1,
        "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
        # Alone it has nobody to tell that it is alive, which it would write twice a second.
        "metadata.max.idle.interval.ms": 0,
        **settings,
    }
    return "".join(f"{key}={value}\n" for key, value in values.items())
