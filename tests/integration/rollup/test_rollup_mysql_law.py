"""The law of `test_rollup_law`, on MariaDB's replica: after every run, each grain equals a recomputation."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from law_script import Player, steps
from mysql_world import MysqlWorld, mysql_definition

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
BASES = {
    "Asia/Seoul": NOW - timedelta(days=2),
    "America/New_York": datetime(2026, 11, 1, 4, 30, tzinfo=UTC),
    "Australia/Lord_Howe": datetime(2026, 10, 3, 14, 30, tzinfo=UTC),
}
ZONES = ("a", "A", "a ", None)
"""One value to MariaDB's usual collation, three to a reader."""
FIXED, MOVING = (
    {
        zone: mysql_definition(
            f"{name}_{zone.rsplit('/')[-1].lower()}", time_zone=zone, provisional_while="open", **more
        )
        for zone in BASES
    }
    for name, more in (("shop", {}), ("moving_shop", {"key": "id"}))
)
PHASES = [Phase.explicit, Phase.reuse, Phase.generate]


@pytest.fixture(scope="module", autouse=True)
def tables(shop: MysqlWorld) -> None:
    shop.migrate(*FIXED.values(), *MOVING.values())


LONG = [pytest.mark.long, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("examples", [12, pytest.param(400, marks=LONG)])
def test_every_grain_equals_a_recomputation_on_mariadb(shop: MysqlWorld, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), phases=PHASES)
    @given(
        zone=st.sampled_from(sorted(BASES)),
        script=steps(zones=ZONES),
        outside=st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=2),
    )
    def law(zone: str, script: list[Any], outside: list[tuple[int, bool]]) -> None:
        Player(shop, FIXED[zone], BASES[zone]).play(script, outside)

    law()


@pytest.mark.parametrize("examples", [5, pytest.param(300, marks=LONG)])
def test_rows_that_move_leave_nothing_behind_on_mariadb(shop: MysqlWorld, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), phases=PHASES)
    @given(zone=st.sampled_from(sorted(MOVING)), script=steps(moving=True, zones=ZONES))
    def law(zone: str, script: list[Any]) -> None:
        Player(shop, MOVING[zone], BASES[zone]).play(script, [])

    law()
