"""`fleetlab demo` on servers that an earlier demo left running, from the moment at which its live stretch has ended.

A program: it asks Airflow for a run that begins now, as the demo does then, and ends as the demo does. So what happens
when servers go at that moment is seen without starting them all once more.
"""

from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path

from fleetgauge import settings
from fleetlab.__main__ import main
from fleetlab.demo import run
from fleetlab.demo.airflow_api import AirflowApi
from fleetlab.demo.watch import Watch


class ResumedDemo(run.Demo):
    """Removes nothing at its beginning, and starts nothing."""

    def _wipe(self) -> None:
        pass

    def _play(self) -> None:
        state = self.state()
        assert state is not None
        live: Future[None] = Future()
        live.set_result(None)
        login = state.need_airflow()
        with ExitStack() as running:
            watch = running.enter_context(Watch(self._stack.home, self._steps.tell))
            watch.expect()
            airflow = running.enter_context(AirflowApi(login.url, login.username, login.password))
            self._roll_up(airflow, settings.load(Path(state.config)), live)


if __name__ == "__main__":
    run.Demo = ResumedDemo  # type: ignore[misc]
    main()
