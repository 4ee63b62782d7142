"""Which stretch of time a report is about, and what in it may still change, is missing or is not counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from fleetgauge.errors import Terminal
from fleetgauge.postgres import Connection, only_row, sql

FEWEST_MINUTES = 60


@dataclass(frozen=True)
class ReportRange:
    """From an instant until before another, and the equally long period before it; aware, cut to minutes."""

    since: datetime
    until: datetime
    time_zone: str
    """IANA name; instants are written in it, and days are its days."""
    grain: str
    """Of the charts: hour or day."""

    @property
    def before(self) -> datetime:
        """Where the period before begins; it ends where this one begins."""
        return self.since - (self.until - self.since)


@dataclass(frozen=True)
class RowsLeftOut:
    """Source rows of the range that are in no number."""

    reason: str
    rows: int


@dataclass(frozen=True)
class MetricState:
    """How far a metric's numbers of the range can be relied on."""

    metric: str
    data_since: datetime | None
    """Its first window; None if there is none at all."""
    data_until: datetime | None
    """The end of its last window within the range."""
    provisional_since: datetime | None
    """From this window on (or in parts of what follows) numbers may still change; withheld cells are among them."""
    before_covered: bool
    """Whether there are numbers for the whole period before, so that a trend can be told."""
    stretch: str
    """Which stretch is summed instead, where finer rows at an edge have expired; else empty."""
    left_out: tuple[RowsLeftOut, ...]


def known_metrics(connection: Connection, stems: Sequence[str]) -> set[str]:
    """Of these view stems those whose `metrics.<stem>_range` is there."""
    rows = connection.execute(
        "SELECT stem FROM unnest(%s::text[]) AS stem"
        " WHERE to_regprocedure(format('metrics.%%I(timestamptz, timestamptz, text)', stem || '_range')) IS NOT NULL",
        [list(stems)],
    )
    return {stem for (stem,) in rows}


def time_zone_of(connection: Connection, metric: str) -> str:
    """The metric's own zone."""
    found: str = only_row(connection.execute("SELECT tz FROM fleetgauge.range_kept(%s, now())", [metric]))[0]
    return found


def final_until(connection: Connection, metrics: Sequence[str]) -> datetime:
    """Up to which full hour all of these metrics are final; if none of their last days is, up to where they have rows.

    Raises `Terminal` if one has no rows at all.
    """
    ends = []
    for metric in metrics:
        newest = _newest(connection, metric)
        if newest is None:
            raise Terminal(
                f"metric {metric} has no rows, so there is nothing to report on; run fleetgauge run {metric}"
            )
        first_open, last = only_row(
            connection.execute(
                sql.SQL(
                    "SELECT min(window_start) FILTER (WHERE provisional),"
                    " max(window_start + ('1 ' || window_grain)::interval)"
                    " FROM metrics.{}(%(at)s - interval '2 days', %(at)s + interval '1 day', 'hour')"
                ).format(sql.Identifier(f"{metric}_range")),
                {"at": newest},
            )
        )
        final = last if first_open is None else first_open
        ends.append(final if final > newest - timedelta(days=1) else last)
    found: datetime = min(ends)
    return found.replace(minute=0, second=0, microsecond=0)


def of_length(until: datetime, length: timedelta, time_zone: str) -> ReportRange:
    """The stretch of that length that ends at an instant."""
    return between(until - length, until, time_zone)


def between(since: datetime, until: datetime, time_zone: str) -> ReportRange:
    """The stretch between two instants. Raises `Terminal` if it is shorter than an hour."""
    if until - since < timedelta(minutes=FEWEST_MINUTES):
        raise Terminal(f"a report is about an hour at least, and {since:%Y-%m-%d %H:%M} to {until:%H:%M} is less")
    since, until = (at.replace(second=0, microsecond=0) for at in (since, until))
    return ReportRange(since, until, time_zone, "hour" if until - since <= timedelta(days=3) else "day")


def states(connection: Connection, over: ReportRange, metrics: Sequence[str]) -> tuple[MetricState, ...]:
    """What is to be known about each metric's numbers."""
    return tuple(_state(connection, over, metric) for metric in metrics)


def _state(connection: Connection, over: ReportRange, metric: str) -> MetricState:
    function = sql.Identifier(f"{metric}_range")
    first = only_row(
        connection.execute(sql.SQL("SELECT min(window_start) FROM metrics.{}").format(sql.Identifier(f"{metric}_day")))
    )[0]
    open_since, last = only_row(
        connection.execute(
            sql.SQL(
                "SELECT min(window_start) FILTER (WHERE provisional),"
                " max(window_start + ('1 ' || window_grain)::interval) FROM metrics.{}(%s, %s, %s)"
            ).format(function),
            [over.since, over.until, over.grain],
        )
    )
    earliest = None if first is None else _first_within(connection, function, first)
    stretch = only_row(
        connection.execute("SELECT fleetgauge.range_said(%s, %s, %s)", [metric, over.since, over.until])
    )[0]
    left_out = connection.execute(
        "SELECT reason, row_count FROM fleetgauge.left_out_rows(%s, %s, %s)", [metric, over.since, over.until]
    )
    return MetricState(
        metric,
        earliest,
        last,
        open_since,
        earliest is not None and earliest <= over.before,
        stretch.strip(),
        tuple(RowsLeftOut(*row) for row in left_out),
    )


def _first_within(connection: Connection, function: sql.Identifier, day: datetime) -> datetime:
    """The first hour of the first day: a company that began at noon has no morning before."""
    found = only_row(
        connection.execute(
            sql.SQL("SELECT min(window_start) FROM metrics.{}(%(day)s, %(day)s + interval '25 hours', 'hour')").format(
                function
            ),
            {"day": day},
        )
    )[0]
    return day if found is None else found


def _newest(connection: Connection, metric: str) -> datetime | None:
    found: datetime | None = only_row(
        connection.execute(sql.SQL("SELECT max(window_start) FROM metrics.{}").format(sql.Identifier(f"{metric}_hour")))
    )[0]
    return found
