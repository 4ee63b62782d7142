"""A dashboard as a real Grafana shows it in a real Chromium."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from chromium import Tab, chromium

_CHECKS = (Path(__file__).parent / "dashboard_checks.js").read_text(encoding="utf-8")
_DRAWN_S = 60
_PANEL_PX, _HEAD_PX = 38, 320
"""Height of one unit of a dashboard's grid with its gap, and of what stands above it."""


@dataclass(frozen=True)
class View:
    """How somebody looks at a dashboard."""

    width: int = 1366
    dark: bool = False
    since: str = "now-6h"
    variables: Mapping[str, str] | None = None

    def query(self) -> str:
        """The end of the address."""
        chosen = {f"var-{name}": value for name, value in (self.variables or {}).items()}
        return urlencode({"from": self.since, "to": "now", "theme": "dark" if self.dark else "light", **chosen})


@dataclass(frozen=True)
class Seen:
    """What is wrong with what was seen, by panel."""

    failed: tuple[str, ...]
    """Panels whose query failed."""
    empty: tuple[str, ...]
    """Panels that say that there is no data."""
    cut: tuple[str, ...]
    """`panel: text` for what does not fit."""
    missing: tuple[str, ...]
    """Panels that were not drawn in time."""
    links: tuple[str, ...]
    """Addresses that panels lead to."""


class GrafanaPage:
    """A tab that shows dashboards."""

    def __init__(self, tab: Tab, url: str) -> None:
        self._tab, self._url = tab, url

    def look(self, dashboard: Mapping[str, Any], view: View) -> Seen:
        """Open a dashboard, in a window so high that no panel is out of sight; blocks until it is drawn."""
        height = max(one["gridPos"]["y"] + one["gridPos"]["h"] for one in dashboard["panels"]) * _PANEL_PX + _HEAD_PX
        self._tab.look(view.width, height, dark=view.dark)
        self._tab.open(f"{self._url}/d/{dashboard['uid']}?{view.query()}")
        wanted = sum(1 for one in dashboard["panels"] if one["type"] != "row")  # what is in a closed row is not drawn
        last, until = None, time.monotonic() + _DRAWN_S
        while True:
            now = self._tab.evaluate(_CHECKS + "drawn()")
            if (len(now["panels"]) >= wanted and not now["loading"] and now == last) or time.monotonic() > until:
                break
            last = now
            time.sleep(1)  # twice the same, a second apart
        checks = ("failed", "empty", "cut", "links")
        found = {name: tuple(self._tab.evaluate(f"{_CHECKS}{name}()")) for name in checks}
        lost = ("too few panels",) if len(now["panels"]) < wanted else ()
        return Seen(**found, missing=lost)

    def picture(self) -> bytes:
        """What was looked at last, as PNG."""
        return self._tab.picture()


@contextmanager
def grafana_page(url: str) -> Iterator[GrafanaPage]:
    """A browser for a block, on the Grafana at an address."""
    with chromium() as tab:
        yield GrafanaPage(tab, url)
