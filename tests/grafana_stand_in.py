"""A stand-in for Grafana, for tests of how it is started and stopped. It proves nothing about dashboards.

It takes the arguments that `grafana server` takes and no other, reads the configuration file and the provisioning
folder as Grafana would, refuses what is missing, and answers `/api/health`; `/understood` says what it has read.
"""

import argparse
import json
import os
import sys
from configparser import RawConfigParser
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from string import Template
from typing import Any

import yaml


def install(folder: Path) -> Path:
    """Lay out a home as Grafana's archive has it; returns its executable, which is called `grafana`."""
    for name, text in {
        "conf/defaults.ini": "",
        "bin/grafana": f"#!{sys.executable}\nimport runpy\nrunpy.run_path({__file__!r}, run_name='__main__')\n",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    executable = folder / "bin" / "grafana"
    executable.chmod(0o755)
    return executable


def understood(config: RawConfigParser) -> dict[str, Any]:
    """What the provisioning files come to; a variable that is not set or a folder that is not there is an error."""
    provisioning = Path(config["paths"]["provisioning"])
    sources = Template((provisioning / "datasources" / "fleetgauge.yaml").read_text()).substitute(os.environ)
    providers = Template((provisioning / "dashboards" / "fleetgauge.yaml").read_text()).substitute(os.environ)
    folders = [Path(one["options"]["path"]) for one in yaml.safe_load(providers)["providers"]]
    dashboards = [json.loads(path.read_text())["uid"] for folder in folders for path in sorted(folder.rglob("*.json"))]
    alerting = yaml.safe_load((provisioning / "alerting" / "fleetgauge.yaml").read_text())
    return {
        "settings": {section: dict(config[section]) for section in config.sections()},
        "datasources": yaml.safe_load(sources)["datasources"],
        "dashboards": dashboards,
        "home": json.loads(Path(config["dashboards"]["default_home_dashboard_path"]).read_text())["uid"],
        "alerts": [rule["title"] for group in alerting["groups"] for rule in group["rules"]],
    }


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="grafana")
    server = parser.add_subparsers(required=True).add_parser("server")
    server.add_argument("--homepath", type=Path, required=True)
    server.add_argument("--config", type=Path, required=True)
    asked = parser.parse_args()
    if not (asked.homepath / "conf" / "defaults.ini").is_file():
        sys.exit("Grafana-server Init Failed: Could not find config defaults, make sure homepath command line is set")
    config = RawConfigParser()
    config.read_string(asked.config.read_text())
    found = json.dumps(understood(config)).encode()
    for name in ("data", "logs", "plugins"):
        Path(config["paths"][name]).mkdir(exist_ok=True)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers = {"/api/health": b'{"database": "ok", "version": "stand-in"}', "/understood": found}
            body = answers.get(self.path, b"")
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    address = (config["server"]["http_addr"], int(config["server"]["http_port"]))
    HTTPServer(address, Handler).serve_forever()


if __name__ == "__main__":
    main()
