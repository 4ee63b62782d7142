"""The law: after every run that returns, each grain equals a recomputation from all committed facts."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from law_script import Player, steps
from rollup_world import World, definition

# Where the calendar is odd: an hour that happens twice, half an hour that is skipped, an offset of half an hour.
NOW = datetime.now(UTC).replace(second=0, microsecond=0)
BASES = {
    "Asia/Seoul": NOW - timedelta(days=2),
    "America/New_York": datetime(2026, 11, 1, 4, 30, tzinfo=UTC),
    "Australia/Lord_Howe": datetime(2026, 10, 3, 14, 30, tzinfo=UTC),
    "Asia/Kolkata": NOW - timedelta(days=1),
}
DEFINITIONS = {
    zone: definition(f"law_{zone.rsplit('/')[-1].lower()}", time_zone=zone, provisional_while="open") for zone in BASES
}

MOVING = {
    zone: definition(f"moving_{zone.rsplit('/')[-1].lower()}", time_zone=zone, provisional_while="open", key="id")
    for zone in ("Asia/Seoul", "Australia/Lord_Howe")
}

# To shrink a script of real servers takes minutes; the one that failed is short enough to read.
PHASES = [Phase.explicit, Phase.reuse, Phase.generate]


@pytest.fixture(scope="module", autouse=True)
def tables(world: World) -> None:
    world.migrate(*DEFINITIONS.values(), *MOVING.values())


@pytest.mark.parametrize(
    "examples",
    [
        pytest.param(15, marks=pytest.mark.timeout(900)),
        pytest.param(1000, marks=[pytest.mark.long, pytest.mark.timeout(3600)]),
    ],
)
def test_every_grain_equals_a_recomputation(world: World, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), phases=PHASES)
    @given(
        zone=st.sampled_from(sorted(BASES)),
        script=steps(),
        outside=st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=2),
    )
    def law(zone: str, script: list[Any], outside: list[tuple[int, bool]]) -> None:
        Player(world, DEFINITIONS[zone], BASES[zone]).play(script, outside)

    law()


@pytest.mark.parametrize("examples", [6, pytest.param(300, marks=[pytest.mark.long, pytest.mark.timeout(3600)])])
def test_rows_that_move_leave_nothing_behind(world: World, examples: int) -> None:
    """With a key, event time and dimensions of a row may change too."""

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), phases=PHASES)
    @given(zone=st.sampled_from(sorted(MOVING)), script=steps(moving=True))
    def law(zone: str, script: list[Any]) -> None:
        Player(world, MOVING[zone], BASES[zone]).play(script, [])

    law()
