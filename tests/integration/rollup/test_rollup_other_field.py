"""A metric from another field: a content folder of its own, and no line of code. It is a bakery's orders."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from rollup_world import World
from typer.testing import CliRunner, Result

from fleetgauge.cli.app import app

ROOT = Path(__file__).parents[3]

METRIC = """\
metric: bread_order
description: Orders of bread, by the time at which they came in.
owner: bakery
source: shop
event_time: ordered_at
change_time: updated_at
immutable: An order is written once, but for whether it was picked up.
time_zone: Europe/Paris
provisional_while: waiting

dimensions:
  branch: {column: branch, limit: 16, description: Where it was ordered.}
  bread: {column: bread, limit: 64}

rollups:
  by_branch: [branch]

measures:
  orders: {agg: count}
  waiting: {agg: count, where: {picked_up_at: {is_null: true}}}
  loaves: {agg: sum, of: loaves}
  turnover: {agg: sum, of: price, type: numeric, where: {cancelled: false}}
  customers: {agg: distinct, of: customer, personal: false}
  wait_s: {agg: percentile, of: wait_s, description: From the order to the counter.}
  per_order: {agg: ratio, numerator: loaves, denominator: orders}

checks:
  fail: [waiting <= orders]
"""

SOURCE = """\
-- One row for each line of an order.
SELECT o.ordered_at, greatest(o.updated_at, l.updated_at) AS updated_at, o.branch, l.bread, l.loaves, l.price,
    o.customer, o.cancelled, o.picked_up_at, extract(epoch FROM o.picked_up_at - o.ordered_at) AS wait_s
FROM orders AS o JOIN order_lines AS l USING (order_id)
"""

TEST = """\
description: An order of two lines, one that still waits.
now: 2026-03-29T12:00:00+02:00
given:
  orders:
    - {order_id: 1, ordered_at: 2026-03-29T01:30:00+01:00, updated_at: 2026-03-29T03:30:00+02:00, branch: nord,
       customer: ada, cancelled: false, picked_up_at: 2026-03-29T03:00:00+02:00}
    - {order_id: 2, ordered_at: 2026-03-29T03:10:00+02:00, updated_at: 2026-03-29T03:10:00+02:00, branch: nord,
       customer: bob, cancelled: false, picked_up_at: null}
  order_lines:
    - {order_id: 1, bread: rye, loaves: 2, price: 7.80, updated_at: 2026-03-29T01:30:00+01:00}
    - {order_id: 1, bread: wheat, loaves: 1, price: 2.10, updated_at: 2026-03-29T01:30:00+01:00}
    - {order_id: 2, bread: rye, loaves: 1, price: 3.90, updated_at: 2026-03-29T03:10:00+02:00}
expect:
  hour:
    - {window_start: 2026-03-29T01:00:00+01:00, bread: rye, orders: 1, loaves: 2, turnover: 7.80, wait_s: {p50: 1800}}
    - {window_start: 2026-03-29T01:00:00+01:00, bread: wheat, orders: 1, loaves: 1, turnover: 2.10}
    - {window_start: 2026-03-29T03:00:00+02:00, bread: rye, orders: 1, waiting: 1, provisional: true}
  by_branch_day:
    - {date: 2026-03-29, branch: nord, orders: 3, waiting: 1, loaves: 4, turnover: 13.80, customers: 2}
"""

TABLES = """
CREATE TABLE orders (
    order_id integer PRIMARY KEY, ordered_at timestamptz NOT NULL, branch text NOT NULL, customer text NOT NULL,
    cancelled boolean NOT NULL DEFAULT false, picked_up_at timestamptz, updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE order_lines (
    order_id integer REFERENCES orders, bread text, loaves integer NOT NULL, price numeric NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (order_id, bread)
);
GRANT SELECT ON orders, order_lines TO fleetgauge_reader;
"""

PARSE = """
import json, runpy, sys
from airflow.sdk import DAG
import psycopg
psycopg.connect = None
found = runpy.run_path(sys.argv[1])
print(json.dumps({d.dag_id: {t.task_id: [a.name for a in t.outlets] for t in d.tasks}
    for d in found.values() if isinstance(d, DAG)}))
"""


@pytest.fixture(scope="module")
def content(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The bakery's content, its configuration beside it, its tables on the primary."""
    root = tmp_path_factory.mktemp("bakery")
    folder = root / "sql" / "metrics" / "bread_order"
    (folder / "tests").mkdir(parents=True)
    (folder / "metric.yaml").write_text(METRIC)
    (folder / "source.sql").write_text(SOURCE)
    (folder / "tests" / "clock_change.yaml").write_text(TEST)
    owner = world.settings.metrics.owner_url
    assert owner is not None
    urls = [
        one.get_secret_value() for one in (world.settings.metrics.url, owner, world.settings.source("operations").url)
    ]
    config = root / "fleetgauge.toml"
    config.write_text(
        'content = "{}"\n[metrics]\nurl = "{}"\nowner_url = "{}"\n[sources.shop]\nurl = "{}"\n'.format(root, *urls)
    )
    world.app.execute(TABLES)
    yield root


@pytest.fixture
def cli(content: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("FLEETGAUGE_CONFIG", str(content / "fleetgauge.toml"))

    def run(*arguments: str) -> Result:
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, (done.output, done.exception)
        return done

    return run


def test_lint_and_pages_and_schema(content: Path, cli: Callable[..., Result]) -> None:
    found = json.loads(cli("lint", "--json").stdout)
    assert (found["metrics"], found["problems"]) == (["bread_order"], [])
    cli("metrics", "docs")
    page = (content / "docs" / "metrics" / "bread_order.md").read_text()
    assert "Source: `order_lines`, `orders` in source `shop`." in page
    assert "clock_change.yaml): An order of two lines" in page
    assert (content / "schemas" / "metric.schema.json").is_file()
    cli("metrics", "docs", "--check")


def test_its_numbers_and_views(world: World, cli: Callable[..., Result]) -> None:
    cli("migrate")
    assert json.loads(cli("test", "--json").stdout)["failed"] == 0
    noon = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    world.app.execute("INSERT INTO orders VALUES (1, %s, 'nord', 'ada'), (2, %s, 'sud', 'bob')", [noon, noon])
    world.app.execute("INSERT INTO order_lines VALUES (1, 'rye', 2, 7.80), (1, 'wheat', 1, 2.10), (2, 'rye', 4, 9)")
    world.beat()
    world.catch_up()
    cli("run", "bread_order")
    world.app.execute("UPDATE orders SET picked_up_at = ordered_at + interval '5 min', updated_at = now()")
    world.beat()
    world.catch_up()
    cli("run", "--source", "shop")
    rows = world.metrics.execute(
        "SELECT date, branch, orders, waiting, loaves, turnover, customers, per_order,"
        " fleetgauge.quantile(wait_s, 0.5) FROM metrics.bread_order_by_branch_day ORDER BY branch"
    ).fetchall()
    day: date = rows[0][0]
    assert [row[:7] for row in rows] == [
        (day, "nord", 2, 0, 3, Decimal("9.90"), 1),
        (day, "sud", 1, 0, 4, Decimal(9), 1),
    ]
    assert [row[7] for row in rows] == [1.5, 4.0]
    assert all(abs(row[8] - 300) <= 3 for row in rows)


def test_its_dashboard(content: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)  # dashboards are content, not an installed package
    from dashboards.build import main
    from dashboards.queries import dashboard_queries

    assert main(["--content", str(content)]) == 0
    dashboard: dict[str, Any] = json.loads((content / "dashboards/generated/metric-bread_order.json").read_text())
    now = datetime.now(UTC)
    queries = dashboard_queries(dashboard, {"grain": "day", "by": "bread"}, now.replace(year=now.year - 1), now)
    shown = {query.name: world.metrics.execute(query.sql).fetchall() for query in queries}
    assert {row[1]: row[2] for row in shown["Loaves: sum per $bucket"]} == {"rye": 6, "wheat": 1}
    assert shown["bread"] == [("rye",), ("wheat",)]


def test_its_tasks(content: Path, tmp_path: Path) -> None:
    """As Airflow's DAG processor parses the file: in a process of its own, without a database."""
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/unused.db",
        "FLEETGAUGE_CONFIG": str(content / "fleetgauge.toml"),
    }
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(ROOT / "dags" / "fleetgauge_rollup.py")],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["fleetgauge_minute"] == {"shop": ["metrics.bread_order_minute"]}
    assert found["fleetgauge_day"] == {"shop": ["metrics.bread_order_day"]}
