"""Grafana on the stack's metrics database and Prometheus: how it is found, and the settings that it is started with.

Settings are written as its configuration file; what the files of `dashboards/provisioning` ask for goes by environment.
"""

import os
import shutil
from collections.abc import Mapping
from configparser import RawConfigParser
from io import StringIO
from pathlib import Path

from fleetgauge.errors import Terminal
from fleetlab.stack.ports import LOOPBACK
from fleetlab.stack.state import METRICS_DATABASE, Endpoint, PostgresState

HOME_VARIABLE = "GRAFANA_HOME"
"""Names the folder of a Grafana that is not on PATH: with `bin`, `conf` and `public`."""
LOGIN = "admin"
"""Who may change something; its password is the secret SECRET."""
SECRET = "grafana_admin"  # noqa: S105 (a name)
_DEFAULTS = Path("conf") / "defaults.ini"
_NOBODY = f"http://{LOOPBACK}:9"
"""An address at which nobody listens, for a server that is not there."""


def program() -> Path | None:
    """The executable that GRAFANA_HOME or PATH leads to. Raises `Terminal` if GRAFANA_HOME names a folder without."""
    named = os.environ.get(HOME_VARIABLE)
    if not named:
        found = shutil.which("grafana")
        return Path(found) if found else None
    inside = Path(named).resolve() / "bin" / "grafana"
    if not inside.is_file():
        raise Terminal(f"{HOME_VARIABLE} is {named}, which has no bin/grafana; name the folder that has, or unset it")
    return inside


def home(executable: Path) -> Path:
    """The folder with what belongs to the program. Raises `Terminal` if it is not found."""
    root = executable.resolve().parent.parent
    candidates = (root, root / "share" / "grafana")  # of an archive, and of packages
    found = next((one for one in candidates if (one / _DEFAULTS).is_file()), None)
    if found is None:
        raise Terminal(f"{executable} has no folder with {_DEFAULTS}; set {HOME_VARIABLE} to Grafana's folder")
    return found


def settings(folder: Path, project: Path, endpoint: Endpoint, password: str) -> str:
    """The configuration file: whoever opens its page may look at everything; to change something takes the login.

    Nothing is asked of the network, and it keeps its own things below `folder`.
    """
    dashboards = project / "dashboards"
    sections: dict[str, dict[str, object]] = {
        "paths": {
            **{name: folder / name for name in ("data", "logs", "plugins")},
            "provisioning": dashboards / "provisioning",
        },
        "server": {"http_addr": endpoint.host, "http_port": endpoint.port},
        "security": {"admin_user": LOGIN, "admin_password": password, "disable_gravatar": "true"},
        "auth.anonymous": {"enabled": "true", "org_role": "Viewer"},
        "dashboards": {"default_home_dashboard_path": dashboards / "generated" / "fleetgauge-start.json"},
        "log": {"mode": "console"},
        "analytics": {
            "reporting_enabled": "false",
            "check_for_updates": "false",
            "check_for_plugin_updates": "false",
        },
        "news": {"news_feed_enabled": "false"},
        "plugins": {
            "preinstall_disabled": "true",
            "plugin_admin_enabled": "false",
            "public_key_retrieval_disabled": "true",
        },
    }
    written, text = RawConfigParser(), StringIO()
    written.read_dict(sections)
    written.write(text)
    return text.getvalue()


def environment(project: Path, postgres: PostgresState, prometheus: Endpoint | None) -> Mapping[str, str]:
    """What the provisioning files ask for: the metrics database as Grafana's login, Prometheus, and the dashboards."""
    database = {
        "HOST": postgres.metrics.host,
        "PORT": str(postgres.metrics.port),
        "NAME": METRICS_DATABASE,
        "USER": "grafana",
        "PASSWORD": postgres.passwords["grafana"],
        "SSLMODE": "disable",
    }
    return {
        **{f"FLEETGAUGE_GRAFANA_DB_{name}": value for name, value in database.items()},
        "FLEETGAUGE_PROMETHEUS_URL": f"http://{prometheus}" if prometheus else _NOBODY,
        "FLEETGAUGE_LOKI_URL": _NOBODY,
        "FLEETGAUGE_DASHBOARDS_DIR": str(project / "dashboards" / "generated"),
    }
