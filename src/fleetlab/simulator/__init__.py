"""The scooter company: an operational database and a stream of device events, with ground truth kept beside.

`Timeline(scale, start)` is the plan, the same for the same seed and start; `load_backlog` writes everything up to
`plan.live_from`, `run_live` the rest as the wall clock reaches it, and `Truth` answers what the pipeline should find.
Nothing here imports the pipeline's code but its errors and clock, so that agreement means something.
"""

from fleetlab.simulator.backlog import LoadSummary, Progress, load_backlog
from fleetlab.simulator.heartbeat import Heartbeat
from fleetlab.simulator.live import LiveSummary, run_live
from fleetlab.simulator.scale import Scale
from fleetlab.simulator.timeline import Timeline
from fleetlab.simulator.truth import Truth

__all__ = [
    "Heartbeat",
    "LiveSummary",
    "LoadSummary",
    "Progress",
    "Scale",
    "Timeline",
    "Truth",
    "load_backlog",
    "run_live",
]
