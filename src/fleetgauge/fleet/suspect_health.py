"""Whether suspects are up to date and made from enough: what doctor says of them."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from fleetgauge.postgres import Connection

Told = tuple[Literal["ok", "warn"], str, str]
_LATE = timedelta(days=2)
_UNHEARD = 0.2


def findings(connection: Connection, time_zone: str, now: datetime) -> Iterator[Told]:
    """Status, what is said, remedy. `now` is aware."""
    row = connection.execute("SELECT date, trips, unheard FROM fleetgauge.suspect_day ORDER BY date DESC LIMIT 1")
    newest: tuple[date, int, int] | None = row.fetchone()
    if newest is None:
        yield "ok", "no day has been judged yet", ""
        return
    day, trips, unheard = newest
    if now.astimezone(ZoneInfo(time_zone)).date() - day > _LATE:
        yield (
            "warn",
            f"the last day that was judged is {day}: who stopped since then is not known",
            "run fleetgauge fleet run, and see why the DAG fleetgauge_fleet does not",
        )
    if trips and unheard > _UNHEARD * trips:
        yield (
            "warn",
            f"of {unheard} of {trips} trips of {day} no device reported anything, so they were not judged",
            "see whether telemetry is dead-lettered (fleetgauge dlq ls) or trip_id is missing",
        )
    if not trips or unheard <= _UNHEARD * trips:
        yield "ok", f"judged up to {day}, {trips} trips", ""
