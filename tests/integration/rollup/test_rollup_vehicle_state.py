"""The metric vehicle_state on the simulated company's own tables, beside the ground truth, as in the demo."""

from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg import sql
from rollup_world import World

from fleetgauge.rollup import load_definitions
from fleetlab.demo import verify
from fleetlab.demo.books import Books
from fleetlab.simulator import Scale, Timeline, Truth, operations
from fleetlab.simulator.ledger import Ledger

ROOT = Path(__file__).parents[3]


def test_seconds_in_each_state_equal_the_truth(world: World, tmp_path: Path) -> None:
    one = load_definitions(ROOT)["vehicle_state"]
    plan = Timeline.ending(Scale(vehicles=25, days=3, rate=2, live_seconds=0), datetime.now(UTC).replace(microsecond=0))
    with Ledger.create(tmp_path / "truth.sqlite", plan) as ledger:
        ledger.done(plan.actions())
    world.app.execute("ALTER SCHEMA public OWNER TO scooter_app")
    app_url = world.postgres.url("primary", "scooter_app", world.name)
    operations.create_schema(operations.app_engine(app_url))
    operations.run_source_sql(world.postgres.url("primary", "postgres", world.name), ROOT / "sql" / "source")
    operations.copy_history(app_url, plan)
    settled = datetime.now(UTC)
    world.beat()
    world.catch_up()
    world.migrate(one)
    report = world.run(one)
    assert report.error is None, report.error
    truth = Truth(tmp_path / "truth.sqlite")
    metrics_url = world.settings.metrics.url.get_secret_value()
    with psycopg.connect(metrics_url) as analyst:
        aggregates = verify.Aggregates(analyst, Books(truth, settled, {"vehicle_state": one.grace}))
        assert all(check.ok for check in aggregates.finality(verify.closed_windows(metrics_url)))
        checks = verify.vehicle_states(aggregates, truth)
        assert {check.name.split(" by ")[1].split(":")[0] for check in checks} == {"minute", "hour", "day"}
        for check in checks:
            assert check.compared > (3 if "day" in check.name else 100), check
            assert not check.differences, check
        for level in one.levels:  # subsets hold the same seconds
            found = analyst.execute(
                sql.SQL("SELECT sum(seconds), sum(on_trip_s) FROM metrics.{}").format(sql.Identifier(one.view(level)))
            ).fetchone()
            assert found is not None
            if level.name == "minute":
                whole = found
            assert found == whole, level.name
    truth.close()
