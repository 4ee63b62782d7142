"""Which windows should be final, by the simulator's own books: not by what the pipeline says of itself."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from fleetlab.simulator.counts import Grain
from fleetlab.simulator.truth import Truth

_SLACK = timedelta(seconds=10)
"""How old what a run reads may be: the heartbeat, and what the server still appends of a deadline just past."""
_LENGTHS: dict[Grain, timedelta] = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),  # in Seoul, where clocks do not change
}


class Books:
    """The simulator's view of finality.

    `settled`: everything that was sent and written until then has been stored, and rolled up by a run that began later.
    `graces`: what each metric's definition says, how long a window waits after its end; `grains`: those that it has,
    where that is not all of them.
    """

    def __init__(
        self,
        truth: Truth,
        settled: datetime,
        graces: Mapping[str, timedelta],
        grains: Mapping[str, Sequence[Grain]] | None = None,
    ) -> None:
        self._truth, self._settled, self._graces = truth, settled - _SLACK, graces
        self._grains = grains or {}
        self._open: dict[tuple[str, Grain], set[datetime]] = {}

    def grains(self, metric: str) -> Sequence[Grain]:
        """The grains that a metric has."""
        return self._grains.get(metric, tuple(_LENGTHS))

    @property
    def looked_at(self) -> datetime:
        """By then at the latest a metric without minutes has looked at its source; it does once an hour."""
        return (self._settled - timedelta(minutes=3)).replace(minute=0, second=0, microsecond=0)

    @property
    def metrics(self) -> list[str]:
        """All metrics that have definitions."""
        return sorted(self._graces)

    def should_be_final(self, metric: str, grain: Grain) -> Callable[[datetime], bool]:
        """A function of a window's start: has it ended, grace included, and is nothing that began in it undecided?"""
        latest = self._settled - self._graces[metric] - _LENGTHS[grain]
        undecided = self._undecided(metric, grain)
        return lambda start: start <= latest and start not in undecided

    def _undecided(self, metric: str, grain: Grain) -> set[datetime]:
        if (metric, grain) not in self._open:
            self._open[metric, grain] = self._look(metric, grain)
        return self._open[metric, grain]

    def _look(self, metric: str, grain: Grain) -> set[datetime]:
        if metric == "device_command":
            commands = self._truth.command_counts(grain, as_of=self._settled)
            return {start for (start,), cell in commands.items() if isinstance(start, datetime) and cell.open}
        if metric == "rental":
            rentals = self._truth.rental_counts(grain)
            return {start for (start,), cell in rentals.items() if isinstance(start, datetime) and cell.open}
        return set()
