"""A forgotten query of somebody who looks must end: the limits come with the migration."""

import psycopg
from rollup_world import World, definition

from fleetgauge.rollup.operating.doctor import examine


def test_migrating_limits_viewers_and_leaves_what_an_admin_has_set(world: World) -> None:
    for login, timeout in (("viewer_new", None), ("viewer_set", "7s")):
        world.metrics.execute(f"CREATE ROLE {login} LOGIN")
        world.metrics.execute(f"GRANT {login} TO fleetgauge_owner WITH ADMIN TRUE, INHERIT FALSE, SET FALSE")
        if timeout is not None:
            world.metrics.execute(f"ALTER ROLE {login} SET statement_timeout = '{timeout}'")
    try:
        world.migrate(definition("seen"))
        world.metrics.execute("GRANT fleetgauge_viewer TO viewer_new, viewer_set")
        said = [one.said for one in examine(world.settings, {}, {})]
        assert "viewer viewer_new has no statement_timeout" in said
        world.migrate(definition("seen"))
        assert not [one for one in examine(world.settings, {}, {}) if "viewer viewer_" in one.said]
        found = dict(
            world.metrics.execute(
                "SELECT rolname, rolconfig FROM pg_roles WHERE rolname LIKE 'viewer\\_%' ORDER BY 1"
            ).fetchall()
        )
        assert set(found["viewer_new"]) == {"statement_timeout=60s", "default_transaction_read_only=on"}
        assert set(found["viewer_set"]) == {"statement_timeout=7s", "default_transaction_read_only=on"}
    finally:
        for login in ("viewer_new", "viewer_set"):
            world.metrics.execute(f"DROP ROLE {login}")


def test_python_sees_the_limit_of_the_dashboards(world: World) -> None:
    world.migrate(definition("seen"))
    with psycopg.connect(world.postgres.url("metrics", "grafana", world.name), autocommit=True) as grafana:
        assert grafana.execute("SHOW statement_timeout").fetchone() == ("10s",)
        assert grafana.execute("SHOW default_transaction_read_only").fetchone() == ("on",)
