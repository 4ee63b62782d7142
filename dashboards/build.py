"""Write the dashboards: `python -m dashboards.build`; `--check` only says by its exit code whether they are up to date.

The dashboards of this package, and one for each metric; of another content (`--content`) the latter alone.
"""

import argparse
import importlib
import json
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards import definitions, monitoring
from dashboards.annotations import deploys_annotation
from dashboards.definitions import metric
from dashboards.docs_links import docs_address, linked
from dashboards.queries import panels
from dashboards.views import MissingMetric
from fleetgauge.errors import FleetgaugeError
from fleetgauge.rollup import load_definitions

CONTENT = Path(__file__).parents[1]
GENERATED = Path(__file__).parent / "generated"


def dashboard_json(builder: Dashboard, annotations: Sequence[dict[str, object]]) -> dict[str, Any]:
    """A dashboard as plain JSON: the builder's output, with what the SDK's types have no place for."""
    found: dict[str, Any] = json.loads(json.dumps(builder.build(), cls=JSONEncoder))
    found["annotations"] = {"list": list(annotations)}
    address = docs_address()
    for panel in panels(found):
        if "description" in panel:
            panel["description"] = linked(panel["description"], address)
    for number, panel in enumerate(found["panels"], start=1):
        panel["id"] = number  # links to a panel stay the same from build to build
        if panel["type"] == "table":
            panel["fieldConfig"]["defaults"].setdefault("custom", {})["wrapHeaderText"] = True
        if panel["type"] == "status-history":
            panel["options"]["perPage"] = 0  # no page numbers; the SDK knows no 0
        panel.get("options", {}).pop("footer", None)  # of tables: Grafana 12 has moved it elsewhere, we have none
    for variable in found["templating"]["list"]:
        if variable.get("hide"):
            variable["skipUrlSync"] = True  # a hidden value from an old link must not outlive a new time range
        for meaningless in ("auto", "auto_min", "auto_count"):  # of variables of the type `interval`
            variable.pop(meaningless, None)
    return found


def render(content: Path = CONTENT) -> Iterator[tuple[Path, str]]:
    """Path and text of each generated file. Raises `FleetgaugeError` when a definition is not valid."""
    made = [module.build() for module in _dashboards()] if _own(content) else []
    made += [metric.build(one) for one in load_definitions(content).values()]
    for dashboard in made:
        found = dashboard_json(*dashboard)
        text = json.dumps(found, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        yield _folder(content) / f"{found['uid']}.json", text
    for one in _monitoring() if _own(content) else []:
        found = dashboard_json(one, [deploys_annotation()])
        text = json.dumps(found, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        yield _folder(content) / "monitoring" / f"{found['uid']}.json", text


def _monitoring() -> Iterator[Dashboard]:
    for found in pkgutil.iter_modules(monitoring.__path__):
        module = importlib.import_module(f"{monitoring.__name__}.{found.name}")
        if hasattr(module, "build"):
            yield module.build()


def _dashboards() -> Iterator[ModuleType]:
    """The dashboards of this package; one whose metric the content has not is left out, and said to be."""
    for found in pkgutil.iter_modules(definitions.__path__):
        if found.name != "metric":
            try:
                yield importlib.import_module(f"{definitions.__name__}.{found.name}")
            except MissingMetric as error:
                sys.stderr.write(f"definitions/{found.name}.py is left out: {error}\n")


def _own(content: Path) -> bool:
    return content.resolve() == CONTENT.resolve()


def _folder(content: Path) -> Path:
    return GENERATED if _own(content) else content / "dashboards" / "generated"


def main(arguments: list[str] | None = None) -> int:
    """Exit code 1 if `--check` finds a stale file."""
    parser = argparse.ArgumentParser(prog="python -m dashboards.build", description="Write Grafana dashboards as JSON.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a file is not up to date")
    parser.add_argument(
        "--content", type=Path, default=CONTENT, help="the folder with sql/metrics; this one by default"
    )
    asked = parser.parse_args(arguments)
    check: bool = asked.check
    try:
        wanted = dict(render(asked.content))
    except FleetgaugeError as error:
        parser.exit(error.exit_code, f"{parser.prog}: {error}\n")
    folder = _folder(asked.content)
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    orphans = [path for path in sorted(folder.rglob("*.json")) if path not in wanted]
    if not check:
        for path in stale:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path], encoding="utf-8")
        for path in orphans:
            path.unlink()
    verb = "is not up to date; run `make dashboards`" if check else "written"
    for path in [*stale, *orphans]:
        sys.stdout.write(f"{path.name}: {verb}\n")
    return 1 if check and (stale or orphans) else 0


if __name__ == "__main__":
    raise SystemExit(main())
