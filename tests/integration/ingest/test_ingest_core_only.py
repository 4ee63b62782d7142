"""A consumer with nothing installed but the core, on real servers."""

import json
import os
import subprocess
from typing import Any

import core_only

CONSUME = """
sys.argv = ["fleetgauge", "consume", {name!r}, "--until-caught-up", "--http-port", "0", "--json"]
from fleetgauge.cli import main
main()
"""


def test_a_consumer_runs_with_the_core_alone(world: Any, event: Any) -> None:
    """Good events are stored and a broken one is dead-lettered, without a module of any extra."""
    world.send([*(event(number) for number in range(40)), b"{not JSON"])
    done = subprocess.run(
        core_only.python(CONSUME.format(name=world.consumer.name)),
        env={**os.environ, "FLEETGAUGE_CONTENT": str(world.content)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    events = json.loads(done.stdout)["events"]
    assert (events["ok"], events["poison"]) == (40, 1)
    assert len(world.stored()) == 40
    assert len(world.dead_letters()) == 1
