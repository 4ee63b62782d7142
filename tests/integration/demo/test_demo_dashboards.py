"""What the demo leaves running, looked at as users do: every dashboard in a real Grafana and a real Chromium.

With FLEETLAB_DEMO_HOME set to the home of a demo that was kept, that one is looked at and left running.
"""

import json
import os
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest
from asked_series import OF_OTHERS, series_named
from dashboards.alerts import twins
from dashboards.queries import panels
from demo_process import DemoProcess
from grafana_page import GrafanaPage, Seen, View, grafana_page

from chromium import EXECUTABLE
from fleetlab.stack import Stack, StackState, monitoring, project_root
from fleetlab.stack.guard import Guard

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        EXECUTABLE is None or not monitoring.programs().keys() >= {"grafana", "prometheus"},
        reason="Grafana, Prometheus or Chromium is not installed, so no dashboard is drawn",
    ),
]
DASHBOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in sorted((project_root() / "dashboards" / "generated").rglob("*.json"))
}
VIEWS = [View(width=width, dark=dark, since="now-1d") for width in (1366, 1600) for dark in (False, True)]
RANGES = [View(since=since) for since in ("now-1h", "now-6h", "now-30d", "now-180d")]
SMALL = ("--vehicles", "300", "--days", "2", "--live-seconds", "45")
UNTIL_PROVISIONED_S = 120


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackState]:
    """The servers that a demo left running."""
    asked = os.environ.get("FLEETLAB_DEMO_HOME")
    home = Path(asked) if asked else tmp_path_factory.mktemp("dashboards") / "lab"
    if not asked:
        with DemoProcess(home, home.with_name("log"), "--keep", *SMALL) as demo:
            assert demo.wait(timeout_s=1200) == 0, demo.text()
    state = Stack(home).state()
    assert state is not None
    guard = None if asked else Guard.start(home, wipe=True, keep=[])
    yield state
    if guard is not None:
        guard.release()
        Stack(home).down(wipe=True)


def grafana(kept: StackState, path: str) -> Any:
    part = kept.need_grafana()
    login = b64encode(f"{part.username}:{part.password}".encode()).decode()
    with urlopen(Request(f"{part.url}{path}", headers={"Authorization": f"Basic {login}"}), timeout=30) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def page(kept: StackState) -> Iterator[GrafanaPage]:
    """A browser, once every dashboard has been provisioned: that goes on when Grafana already answers."""
    deadline = time.monotonic() + UNTIL_PROVISIONED_S
    while missing := set(DASHBOARDS) - {one["uid"] for one in grafana(kept, "/api/search?type=dash-db&limit=500")}:
        assert time.monotonic() < deadline, f"not provisioned: {sorted(missing)}"
        time.sleep(1)
    with grafana_page(kept.need_grafana().url) as found:
        yield found


def may_be_empty(dashboard: dict[str, Any]) -> set[str]:
    """Titles of panels whose emptiness is an answer, or that show what no exporter of the demo exports."""
    found = set()
    for panel in panels(dashboard):
        said = panel.get("fieldConfig", {}).get("defaults", {}).get("noValue", "")
        named = {name for target in panel["targets"] for name in series_named(target.get("expr", ""))}
        if said.startswith(("none", "nothing")) or any(map(OF_OTHERS.match, named)):
            found.add(panel["title"])
    return found


def looked_at(page: GrafanaPage, uid: str, view: View, tmp_path: Path) -> Seen:
    """A dashboard without a failed query, with its picture in the test's folder."""
    seen = page.look(DASHBOARDS[uid], view)
    (tmp_path / f"{uid}.png").write_bytes(page.picture())
    assert (seen.failed, seen.missing) == ((), ()), f"see {tmp_path}"
    return seen


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: f"{view.width}-{'dark' if view.dark else 'light'}")
@pytest.mark.parametrize("uid", DASHBOARDS)
def test_a_dashboard_looks_right(page: GrafanaPage, uid: str, view: View, tmp_path: Path) -> None:
    seen = looked_at(page, uid, view, tmp_path)
    assert sorted(set(seen.empty) - may_be_empty(DASHBOARDS[uid])) == [], f"see {tmp_path}"
    assert seen.cut == (), f"see {tmp_path}"


@pytest.mark.parametrize("view", RANGES, ids=lambda view: str(view.since))
@pytest.mark.parametrize("uid", [uid for uid in DASHBOARDS if uid.startswith("fleetgauge-")])
def test_no_range_makes_a_query_fail_or_cuts_text(page: GrafanaPage, uid: str, view: View, tmp_path: Path) -> None:
    assert looked_at(page, uid, view, tmp_path).cut == (), f"see {tmp_path}"


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_links_of_panels_lead_to_dashboards_and_keep_the_time(page: GrafanaPage, uid: str, tmp_path: Path) -> None:
    inside = [urlsplit(link) for link in looked_at(page, uid, View(), tmp_path).links if "/d/" in link]
    assert [link.path for link in inside if link.path.split("/")[2] not in DASHBOARDS] == []
    assert [link.path for link in inside if "from=" not in link.query] == []


def test_alerts_of_grafana_run(kept: StackState) -> None:
    groups = grafana(kept, "/api/prometheus/grafana/api/v1/rules")["data"]["groups"]
    health = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
    assert health == dict.fromkeys((path.stem for path in twins.QUERIES.glob("*.sql")), "ok")
