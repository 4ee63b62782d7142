"""Queries that merge sketches stay quick whatever memory they have: groups are not hashed by the thousand."""

import psycopg
from rollup_world import World


def test_no_amount_of_memory_makes_merging_slow(world: World) -> None:
    """By hashing, 30,000 groups took 15 s with much memory, and 100,000 minutes: by the square of the groups."""
    with psycopg.connect(world.settings.metrics.url.get_secret_value()) as connection:
        connection.execute("SET LOCAL work_mem = '1GB'; SET LOCAL jit = off; SET LOCAL statement_timeout = '60s'")
        connection.execute(
            "CREATE TEMP TABLE wide AS SELECT g % 20000 AS k, ARRAY[100000, 1]::bigint[]::fleetgauge.sketch AS s,"
            " 'x00000001'::varbit::fleetgauge.distinct_bits AS d FROM generate_series(1, 40000) AS g"
        )
        connection.execute("ANALYZE wide")
        for merge in ("sketch_merge(s)", "distinct_merge(d)"):
            query = f"SELECT k, fleetgauge.{merge} FROM wide GROUP BY k"
            (plan,) = connection.execute(f"EXPLAIN (FORMAT JSON) {query}").fetchone()[0]
            hashed = plan["Plan"]["Strategy"] == "Hashed"
            # Where groups are hashed nevertheless, few fit at once, as far as the planner knows, and the rest is spilt.
            assert not hashed or plan["Plan"].get("Planned Partitions", 0) > 0
        found = connection.execute(
            "SELECT count(*) FROM pg_aggregate AS a JOIN pg_proc AS p ON p.oid = a.aggfnoid"
            " WHERE p.pronamespace = 'fleetgauge'::regnamespace AND p.proname IN ('sketch_merge', 'distinct_merge',"
            " 'tally_merge') AND a.aggtransspace = 1000000"
        ).fetchone()
        assert found == (3,)
