"""The dashboards on Prometheus, as their tests read them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dashboards.queries import panels

FILES = sorted((Path(__file__).parents[1] / "dashboards" / "generated" / "monitoring").glob("*.json"))


def expressions(dashboard: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for panel in panels(dashboard):
        for target in panel["targets"] if panel["type"] != "logs" else ():
            yield panel["title"], target["expr"]
    for variable in dashboard["templating"]["list"]:
        yield variable["name"], variable["query"]["query"].removeprefix("label_values(").split(",")[0]
