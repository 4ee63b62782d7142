"""One Elasticsearch node, of the newest version that the JDK runs."""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import HTTPError, URLError

from fleetlab.stack import artifacts
from fleetlab.stack.context import Context
from fleetlab.stack.java import Jdk, more_options
from fleetlab.stack.ports import LOOPBACK, get
from fleetlab.stack.state import ElasticsearchState, Endpoint

NAME = "elasticsearch"
PORTS = ("elasticsearch", "elasticsearch-transport")
_START_S = 300
_OPEN_S = 30

_LOGGING = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%-25c{1.}] %m%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
logger.deprecation.name = deprecation
logger.deprecation.level = error
"""


@dataclass(frozen=True)
class Variant:
    """What a node has besides, or instead of, the usual: logins and TLS, for example."""

    ask: Callable[[str], bytes]
    """Gets a path from the node, as somebody who may see its health; raises `OSError` for a refusal too."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Lines of its configuration."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Files beside its configuration: name → text."""
    heap: str = "1g"


def start(context: Context, jdk: Jdk, variant: Variant | None = None) -> None:
    """Start the node; blocks until its cluster answers. Raises `Terminal`."""
    bundle = artifacts.bundles()[jdk.elasticsearch]
    tree = context.fetch(bundle)
    folder = context.layout.server_folder(NAME)
    endpoint = state(context, jdk).endpoint
    variant = variant or Variant(lambda path: get(f"http://{endpoint}{path}"))
    configuration = _configure(context, tree, folder, variant)
    launcher = ("-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", f"-Djava.io.tmpdir={folder / 'tmp'}", *more_options())
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        "ES_JAVA_HOME": str(jdk.home),
        "ES_PATH_CONF": str(configuration),
        "ES_TMPDIR": str(folder / "tmp"),
        # The launcher does nothing once the server runs; killed early, it must not leave its files in /tmp.
        "CLI_JAVA_OPTS": " ".join(launcher),
    }
    log = context.log(NAME)
    context.processes.spawn(
        NAME,
        [tree / "bin" / "elasticsearch"],
        log=log,
        user=context.layout.user,
        environment=environment,
        folder=folder,
    )
    context.processes.wait_ready(NAME, lambda: _health(variant) is not None, log=log, timeout_s=_START_S)
    # 9.5.3 blocks itself for ever when the first two exceptions of its life are thrown at the same moment, as two
    # threads then initialise its exception classes and wait for each other. So the first one is thrown here, alone.
    with suppress(HTTPError):
        variant.ask("/no-such-index")
    # Indices of an earlier run take a moment to open; one that somebody broke must not keep the node from being used.
    patience = time.monotonic() + _OPEN_S
    context.processes.wait_ready(
        NAME,
        lambda: _health(variant) in ("green", "yellow") or time.monotonic() > patience,
        log=log,
        timeout_s=_START_S,
    )


def state(context: Context, jdk: Jdk) -> ElasticsearchState:
    """How to reach the node."""
    endpoint = Endpoint(LOOPBACK, context.ports["elasticsearch"])
    return ElasticsearchState(endpoint, artifacts.bundles()[jdk.elasticsearch].version)


def _configure(context: Context, tree: Path, folder: Path, variant: Variant) -> Path:
    # Data of one major version cannot be read by an older one, so each has its own.
    configuration, major = folder / "config", tree.name.split("-")[1].split(".")[0]
    shutil.rmtree(configuration, ignore_errors=True)
    for path in (configuration / "jvm.options.d", folder / "tmp", folder / "logs"):
        path.mkdir(parents=True, exist_ok=True)
    values = {
        "cluster.name": "fleetlab",
        "node.name": "fleetlab",
        "discovery.type": "single-node",
        "network.host": LOOPBACK,
        "http.port": context.ports["elasticsearch"],
        "transport.port": context.ports["elasticsearch-transport"],
        "path.data": folder / f"data-{major}",
        "path.logs": folder / "logs",
        "xpack.security.enabled": "false",
        "cluster.routing.allocation.disk.threshold_enabled": "false",
        **variant.settings,
    }
    settings = "".join(f"{key}: {value}\n" for key, value in values.items())
    (configuration / "elasticsearch.yml").write_text(settings, encoding="utf-8")
    (configuration / "log4j2.properties").write_text(_LOGGING, encoding="utf-8")
    # Lines such as -Xlog:gc* write files that nobody reads.
    options = (tree / "config" / "jvm.options").read_text(encoding="utf-8").splitlines()
    kept = [line for line in options if "-Xlog:" not in line and "HeapDump" not in line]
    (configuration / "jvm.options").write_text("\n".join(kept) + "\n", encoding="utf-8")
    extra = (f"-Xms{variant.heap}", f"-Xmx{variant.heap}", "-XX:-UsePerfData", *more_options())
    (configuration / "jvm.options.d" / "fleetlab.options").write_text("\n".join(extra) + "\n", encoding="utf-8")
    for name, text in variant.files.items():
        (configuration / name).write_text(text, encoding="utf-8")
    context.layout.user.own(folder)
    return configuration


def _health(variant: Variant) -> str | None:
    """The colour of the cluster, None while it does not answer."""
    try:
        return str(json.loads(variant.ask("/_cluster/health"))["status"])
    except (URLError, OSError, ValueError, KeyError):
        return None
