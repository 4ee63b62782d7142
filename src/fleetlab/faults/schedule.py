"""When which fault strikes a consumer, its servers and the way between them: made from a seed alone."""

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias

from fleetlab.faults.proxy import Fault


class Incident(StrEnum):
    """What is done to real processes, servers and indices."""

    KILL_CONSUMER = "kill -9 of the consumer"
    TERMINATE_CONSUMER = "SIGTERM to the consumer"
    SECOND_MEMBER = "a second member comes, and one of the two goes"
    STOP_KAFKA = "Kafka stopped and started"
    STOP_ELASTICSEARCH = "Elasticsearch stopped and started"
    KILL_SERVERS = "kill -9 of Kafka and Elasticsearch"
    READ_ONLY = "an index made read-only, then released"
    DELETE_INDEX = "an index deleted"


OUTAGES = (Incident.STOP_KAFKA, Incident.STOP_ELASTICSEARCH, Incident.KILL_SERVERS)
FAULTS = (
    Fault.UNAVAILABLE,
    Fault.OVERLOADED,
    Fault.TOO_LARGE,
    Fault.TIME_OUT,
    Fault.RESET,
    Fault.ITEM_OVERLOADED,
)
"""Faults that end by themselves."""
REFUSALS = (Fault.UNAUTHORIZED, Fault.ITEM_FORBIDDEN)
"""Faults that stop the consumer, and last until somebody has healed them."""
_MOST = {Fault.TIME_OUT: 1, Fault.RESET: 2, Fault.TOO_LARGE: 3}

End: TypeAlias = Literal["kill", "terminate"]


@dataclass(frozen=True)
class Step:
    """Events are produced, some of them are dealt with, the fault strikes, and more events are produced."""

    what: Fault | Incident
    before: int
    """Events produced before the fault."""
    dealt_with: int
    """So many of them Elasticsearch has answered when it strikes."""
    after: int
    """Events produced once it has struck, or once Kafka is back."""
    times: int = 1
    """Bulk requests that meet a fault in a row."""
    end: End | None = None
    """How the consumer, too, ends during an outage of a server; how a member leaves."""
    look: bool = False
    """Whether committed offsets are compared with what is durable, right after it struck."""


@dataclass(frozen=True)
class Schedule:
    """All that happens in one run."""

    seed: int
    steps: tuple[Step, ...]

    @property
    def events(self) -> int:
        """How many numbered events are produced."""
        return sum(step.before + step.after for step in self.steps)

    def __str__(self) -> str:
        lines = [
            f"{number:2}. {step.what}"
            + (f" × {step.times}" if step.times > 1 else "")
            + (f", {step.end} a consumer" if step.end else "")
            + f": after {step.dealt_with} of {step.before} events, then {step.after}"
            + (" (compare offsets)" if step.look else "")
            for number, step in enumerate(self.steps, 1)
        ]
        return "\n".join([f"seed {self.seed}, {self.events} events", *lines])


def schedule(seed: int, events: int = 200_000, *, outages: bool = True) -> Schedule:
    """Every kind of fault at least once, in random order, at random positions of a stream of so many events.

    Without `outages` the servers stay up: their starts take most of a run's time.
    """
    rng = random.Random(seed)
    incidents = [one for one in Incident if outages or one not in OUTAGES]
    what: list[Fault | Incident] = [*incidents, *FAULTS, *REFUSALS, *rng.choices(FAULTS, k=2)]
    rng.shuffle(what)
    # In one of the outages of Elasticsearch the consumer dies too, the other one it has to sit out.
    long_ones = [Incident.STOP_ELASTICSEARCH, Incident.KILL_SERVERS]
    dies_in = rng.choice(long_ones)
    weights = [rng.uniform(0.5, 1.5) for _ in what]
    steps = []
    left = events
    for number, (one, weight) in enumerate(zip(what, weights, strict=True)):
        share = left if number == len(what) - 1 else round(events * weight / sum(weights))
        left -= share
        before = round(share * rng.uniform(0.3, 0.7))
        end: End | None = None
        if one is dies_in:
            end = "kill"
        elif one is Incident.SECOND_MEMBER:
            end = "terminate"
        elif one is Incident.STOP_KAFKA:
            end = rng.choice((None, "terminate"))
        steps.append(
            Step(
                one,
                before,
                round(before * rng.uniform(0.1, 0.8)),
                share - before,
                times=rng.randint(1, _MOST.get(one, 5)) if isinstance(one, Fault) and one in FAULTS else 1,
                end=end,
                look=rng.random() < 0.5,
            )
        )
    return Schedule(seed, tuple(steps))
