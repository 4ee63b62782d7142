"""A schedule holds every kind of fault, and its seed says all about it."""

import pytest

from fleetlab.faults import FAULTS, OUTAGES, REFUSALS, Incident, schedule


@pytest.mark.parametrize("seed", range(40))
def test_every_kind_of_fault_strikes_in_the_midst_of_work(seed: int) -> None:
    plan = schedule(seed, 200_000)
    assert {step.what for step in plan.steps} == {*Incident, *FAULTS, *REFUSALS}
    assert plan.events == 200_000
    for step in plan.steps:
        assert 0 < step.dealt_with < 0.9 * step.before, "some of the events are still to come when it strikes"
        assert step.after > 1_000 and step.times >= 1
    outages = [step for step in plan.steps if step.what in OUTAGES]
    assert "kill" in [step.end for step in outages]
    assert None in [step.end for step in outages], "one outage has to be sat out"


@pytest.mark.parametrize("seed", range(5))
def test_without_outages_everything_else_strikes(seed: int) -> None:
    plan = schedule(seed, 50_000, outages=False)
    assert {step.what for step in plan.steps} == {*Incident, *FAULTS, *REFUSALS} - set(OUTAGES)
    assert plan.events == 50_000
    assert all(step.after > 500 for step in plan.steps)


def test_a_seed_gives_the_same_schedule_again_and_another_seed_another() -> None:
    assert schedule(7) == schedule(7)
    plans = [schedule(seed) for seed in range(20)]
    assert len({tuple(step.what for step in plan.steps) for plan in plans}) == 20
    assert {step.look for plan in plans for step in plan.steps} == {True, False}


def test_a_plan_can_be_read() -> None:
    lines = str(schedule(3, 200_000)).splitlines()
    assert lines[0] == "seed 3, 200000 events"
    assert len(lines) == 1 + len(schedule(3).steps)
    assert sum("kill a consumer" in line for line in lines) == 1
