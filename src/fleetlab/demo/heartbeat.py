"""`python -m fleetlab.demo.heartbeat HOME`: production's heartbeat job, for servers that the demo leaves running."""

import signal
import sys
from pathlib import Path

from fleetlab.simulator import Heartbeat
from fleetlab.stack import Stack


def main(home: Path) -> None:
    """Write heartbeats until SIGTERM, which `fleetlab down` sends."""
    state = Stack(home).state()
    if state is None:
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    with Heartbeat(state.need_postgres().primary_app_url):
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
