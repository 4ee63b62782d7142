"""What the company could do otherwise, so that a question of what it would save is answered by doing it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Habits:
    """How devices report and commands are repeated. No part of the dice: another habit changes nothing else."""

    interval_ms: int = 18_000
    """Between two positions of a riding vehicle, on average."""
    batch: int = 1
    """So many positions of a vehicle go in one message, with the payload of all of them."""
    tries: tuple[tuple[str, int], ...] = ()
    """Command types that are tried so often at most; others as their type says."""

    def most_tries(self, command_type: str) -> int | None:
        """Of a type that has a limit of its own."""
        return dict(self.tries).get(command_type)
