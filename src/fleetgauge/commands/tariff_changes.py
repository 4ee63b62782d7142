"""Which prices changed, for which days, and how much the cost of the commands moved by it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

from fleetgauge.commands.tariff import Tariff, apply_tariffs, load_tariffs
from fleetgauge.postgres import Connection, Jsonb, only_row

COST = "metrics.command_cost_day"
"""The view that says what the commands of a day cost; content of another company may not have it."""

Prices = tuple[int, int, Decimal, str]
"""(overhead_bytes, step_bytes, price_krw, rounding)"""
Costs = dict[date, tuple[Decimal, int]]
"""By local day what was priced (KRW), and how many messages were not."""

_DAYS = f"""
SELECT d.date, coalesce(sum(d.cost_krw), 0), coalesce(sum(d.unpriced_messages), 0)::bigint FROM {COST} AS d
WHERE d.carrier = %(carrier)s AND d.window_start > %(begin)s::timestamptz - interval '25 hours'
AND d.window_start < coalesce(%(end)s::timestamptz, 'infinity') GROUP BY d.date ORDER BY d.date
"""  # noqa: S608
_STORED = """
SELECT carrier, valid_from, nullif(valid_to, 'infinity'), overhead_bytes, step_bytes, price_krw, rounding
FROM fleetgauge.tariff ORDER BY carrier, valid_from
"""
_LOG = """
INSERT INTO fleetgauge.tariff_change (carrier, valid_from, valid_to, before, after, first_day, last_day, days,
    cost_before_krw, cost_after_krw, unpriced_before, unpriced_after)
VALUES (%s, %s, coalesce(%s::timestamptz, 'infinity'), %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
# As `metrics.restatement` tells whatever changed after it was final: the view is `command` and `cost_day`.
_RESTATED = f"""
INSERT INTO fleetgauge.restatement (metric, version, level, grain, window_start, dimensions, measure, before, after,
    change, reason)
SELECT 'command', 'tariff', 'cost_day', 'day', d.window_start, jsonb_build_object('carrier', %(carrier)s::text),
    m.measure, m.before::text, m.after::text, m.after - m.before, 'tariff'
FROM unnest(%(dates)s::date[], %(before)s::numeric[], %(after)s::numeric[], %(unpriced_before)s::numeric[],
    %(unpriced_after)s::numeric[]) AS c(date, before, after, unpriced_before, unpriced_after)
JOIN (SELECT date, min(window_start) AS window_start FROM {COST} AS v WHERE carrier = %(carrier)s
    AND date = ANY(%(dates)s::date[]) GROUP BY date
    HAVING NOT bool_or(coalesce((to_jsonb(v) ->> 'provisional')::boolean, false))) AS d USING (date)
CROSS JOIN LATERAL (VALUES ('cost_krw', c.before, c.after),
    ('unpriced_messages', c.unpriced_before, c.unpriced_after)) AS m(measure, before, after)
WHERE m.before IS DISTINCT FROM m.after
"""  # noqa: S608


@dataclass(frozen=True)
class PriceChange:
    """A carrier's prices from `begin` on, until `end` (UTC; None: for ever), are other ones than before."""

    carrier: str
    begin: datetime
    end: datetime | None
    before: Prices | None
    """None: there was no tariff."""
    after: Prices | None


@dataclass(frozen=True)
class MovedDay:
    """A local day of the cost view whose cost moved. Costs are of what has a price; the rest is counted."""

    date: date
    before_krw: Decimal
    after_krw: Decimal
    unpriced_before: int
    unpriced_after: int


@dataclass(frozen=True)
class Restatement:
    """A price change, and what moved by it. `days` is empty when no message falls into it."""

    change: PriceChange
    days: tuple[MovedDay, ...] = ()

    @property
    def before_krw(self) -> Decimal:
        """Cost of the days that moved, before."""
        return sum((day.before_krw for day in self.days), Decimal(0))

    @property
    def after_krw(self) -> Decimal:
        """And now."""
        return sum((day.after_krw for day in self.days), Decimal(0))


def restate_tariffs(connection: Connection, content_root: Path) -> list[Restatement]:
    """`apply_tariffs`, and what moved by it, written down in `fleetgauge.tariff_change`; nothing if no price differs.

    Inside the caller's transaction, which a dry run takes back. Raises `TariffError` before anything is changed.
    """
    before, after = _stored(connection), load_tariffs(content_root)
    changes = price_changes(before, after)
    if not changes:
        return []
    then = _costs(connection, changes)
    apply_tariffs(connection, content_root)
    found = [
        Restatement(change, tuple(_days(*costs)))
        for change, *costs in zip(changes, then, _costs(connection, changes), strict=True)
    ]
    _record(connection, found)
    return found


def price_changes(before: Iterable[Tariff], after: Iterable[Tariff]) -> list[PriceChange]:
    """Where the prices of two sets of entries differ, by carrier and time; stretches of one price as one. Pure."""
    old, new = list(before), list(after)
    found: list[PriceChange] = []
    for carrier in sorted({one.carrier for one in (*old, *new)}):
        mine = [[one for one in side if one.carrier == carrier] for side in (old, new)]
        cuts = {at for side in mine for one in side for at in (one.valid_from, one.valid_to) if at is not None}
        starts = sorted(cuts)
        for begin, end in zip(starts, [*starts[1:], None], strict=True):
            then, now = (_at(side, begin) for side in mine)
            if then == now:
                continue
            last = found[-1] if found else None
            if last and (last.carrier, last.end, last.before, last.after) == (carrier, begin, then, now):
                found[-1] = PriceChange(carrier, last.begin, end, then, now)
            else:
                found.append(PriceChange(carrier, begin, end, then, now))
    return found


def _stored(connection: Connection) -> list[Tariff]:
    rows = connection.execute(_STORED).fetchall()
    return [Tariff.model_construct(**dict(zip(Tariff.model_fields, row, strict=True))) for row in rows]


def _costs(connection: Connection, changes: Sequence[PriceChange]) -> list[Costs]:
    """For each change what its days cost now."""
    if not only_row(connection.execute("SELECT to_regclass(%s) IS NOT NULL", [COST]))[0]:
        return [{} for _ in changes]
    return [
        {
            day: (cost, unpriced)
            for day, cost, unpriced in connection.execute(
                _DAYS, {"carrier": one.carrier, "begin": one.begin, "end": one.end}
            )
        }
        for one in changes
    ]


def _record(connection: Connection, found: Iterable[Restatement]) -> None:
    """Write them down in `fleetgauge.tariff_change`, and days that were final in `fleetgauge.restatement`."""
    for one in found:
        days = [day.date for day in one.days]
        connection.execute(
            _LOG,
            [
                one.change.carrier,
                one.change.begin,
                one.change.end,
                _plain(one.change.before),
                _plain(one.change.after),
                min(days, default=None),
                max(days, default=None),
                len(days),
                one.before_krw,
                one.after_krw,
                sum(day.unpriced_before for day in one.days),
                sum(day.unpriced_after for day in one.days),
            ],
        )
        if one.days:
            values = {
                "carrier": one.change.carrier,
                "dates": days,
                "before": [day.before_krw for day in one.days],
                "after": [day.after_krw for day in one.days],
                "unpriced_before": [day.unpriced_before for day in one.days],
                "unpriced_after": [day.unpriced_after for day in one.days],
            }
            connection.execute(_RESTATED, values)


def _prices(tariff: Tariff) -> Prices:
    """What decides a cost."""
    return tariff.overhead_bytes, tariff.step_bytes, tariff.price_krw, tariff.rounding


def _at(side: Sequence[Tariff], at: datetime) -> Prices | None:
    return next(
        (_prices(one) for one in side if one.valid_from <= at and (one.valid_to is None or at < one.valid_to)), None
    )


def _days(then: Costs, now: Costs) -> Iterator[MovedDay]:
    nothing = (Decimal(0), 0)
    for day in sorted({*then, *now}):
        before, after = then.get(day, nothing), now.get(day, nothing)
        if before != after:
            yield MovedDay(day, before[0], after[0], before[1], after[1])


def _plain(found: Prices | None) -> Jsonb | None:
    if found is None:
        return None
    overhead, step, price, rounding = found
    return Jsonb({"overhead_bytes": overhead, "step_bytes": step, "price_krw": str(price), "rounding": rounding})
