"""Effective-dated prices of mobile traffic: `sql/tariffs/*.yaml` read, checked, and put into `fleetgauge.tariff`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time
from decimal import Decimal
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from fleetgauge.errors import Terminal
from fleetgauge.files import plain, strict_yaml
from fleetgauge.files import text as texts
from fleetgauge.files.text import Unreadable
from fleetgauge.postgres import Connection

TARIFFS_FOLDER = Path("sql") / "tariffs"


class TariffError(Terminal):
    """The price files are not valid; `problems` has one line for each fault, beginning with file and line."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("tariffs are not valid; correct these:\n" + "\n".join(f"  {p}" for p in problems))


def _quoted(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError(
            f'{plain.shown(value)} must stand in quotes, such as "0.25", for a binary fraction is no price'
        )
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{plain.shown(value)} is not an IANA time zone; write one such as Asia/Seoul") from None
    return value


Rounding = Literal["message", "sim_day", "sim_month"]
"""What is rounded up to whole steps: each message, or all that a SIM sends and receives in a day, or in a month."""
_Money = Annotated[Decimal, BeforeValidator(_quoted), Field(ge=0, max_digits=18, decimal_places=9)]


class Tariff(BaseModel):
    """What one carrier charges from `valid_from` until `valid_to` or its next entry (instants, UTC once loaded).

    Days and months are those of the file's time zone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    carrier: Annotated[str, Field(strict=True, min_length=1, max_length=24)]
    price_class: Annotated[str, Field(strict=True, max_length=24)] = ""
    """What the price depends on besides the carrier: `roaming` is of the traffic that metrics call `skt/roaming`."""
    valid_from: AwareDatetime
    valid_to: AwareDatetime | None = None
    currency: Annotated[str, Field(strict=True, pattern="^[A-Z]{3}$")]
    """ISO 4217; stands at the head of the file."""
    rounding: Rounding
    overhead_bytes: Annotated[int, Field(strict=True, ge=0, le=65_535)]
    """Bytes that the protocols add to each message."""
    step_bytes: Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)]
    """A message is billed in whole steps of this many bytes."""
    price: _Money
    """Of one step."""
    base_fee: _Money = Decimal(0)
    """Of each SIM and month, used or not; each day bears its part."""
    allowance_bytes: Annotated[int, Field(strict=True, ge=0, le=2**53)] = 0
    """Of each SIM and month; all SIMs of a carrier draw on it together. Only with `sim_month`."""
    sims: Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)] | None = None
    """SIMs under contract; if not given, those with traffic in the month."""

    @property
    def label(self) -> str:
        """What the metrics call the carrier of such traffic: with a price class it is part of the name."""
        return f"{self.carrier}/{self.price_class}" if self.price_class else self.carrier

    @property
    def by_sim(self) -> bool:
        """Whether it has a part that belongs to a SIM and whole days."""
        return self.rounding != "message" or self.base_fee > 0

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.valid_to is not None and self.valid_to <= self.valid_from:
            raise ValueError("valid_to must come after valid_from")
        if self.allowance_bytes and self.rounding != "sim_month":
            raise ValueError("allowance_bytes goes with `rounding: sim_month`; remove it, or round by month")
        if self.sims is not None and not self.by_sim:
            raise ValueError("sims decides nothing without base_fee or a rounding by SIM; remove it")
        return self


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    currency: Annotated[str, Field(strict=True, pattern="^[A-Z]{3}$")]
    time_zone: Annotated[str, AfterValidator(_zone)]
    entries: Annotated[list[Any], Field(min_length=1)]


def load_tariffs(content_root: Path) -> tuple[Tariff, ...]:
    """All entries below `<content_root>/sql/tariffs`, by carrier and time, each with the `valid_to` it has in effect.

    Reads files only. Raises `TariffError` with every problem of every file. No file: nothing can be priced.
    """
    problems: list[str] = []
    found: list[_Located] = []
    for path in sorted((content_root / TARIFFS_FOLDER).glob("*.yaml")):
        found.extend(_read(path, str(path.relative_to(content_root)), problems))
    found.sort(key=lambda one: (one.tariff.label, one.tariff.valid_from))
    problems.extend(_overlaps(found))
    problems.extend(_currencies(found))
    if not problems:
        found = list(_with_ends(found))
        problems.extend(_straddling(found))
    if problems:
        raise TariffError(problems)
    return tuple(one.tariff for one in found)


def apply_tariffs(connection: Connection, content_root: Path) -> int:
    """Make `fleetgauge.tariff` equal to the files, in one transaction; returns the number of entries.

    Called by `fleetgauge migrate` with the owner's login. Raises `TariffError` before anything is changed.
    """
    tariffs = load_tariffs(content_root)
    put_tariffs(connection, tariffs)
    return len(tariffs)


def put_tariffs(connection: Connection, tariffs: Sequence[Tariff]) -> None:
    """Make `fleetgauge.tariff` hold these and no others, in one transaction, with the owner's login."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM fleetgauge.tariff")
        cursor.executemany(
            """
            INSERT INTO fleetgauge.tariff (carrier, price_class, valid_from, valid_to, currency, rounding,
                overhead_bytes, step_bytes, price, base_fee, allowance_bytes, sims)
            VALUES (%(carrier)s, %(price_class)s, %(valid_from)s, coalesce(%(valid_to)s::timestamptz, 'infinity'),
                %(currency)s, %(rounding)s, %(overhead_bytes)s, %(step_bytes)s, %(price)s, %(base_fee)s,
                %(allowance_bytes)s, %(sims)s)
            """,
            [dict(tariff) for tariff in tariffs],
        )


@dataclass(frozen=True)
class _Located:
    """An entry, with its location (file and line) and its file's time zone."""

    at: str
    zone: ZoneInfo
    tariff: Tariff


def _read(path: Path, shown: str, problems: list[str]) -> Iterator[_Located]:
    """The entries that are valid."""
    try:
        document = strict_yaml.read(texts.read(path))
    except Unreadable as error:
        problems.append(f"{shown}:{error.line}: {error}")
        return
    problems.extend(f"{shown}:{line}: key {key!r} stands here twice; remove one" for line, key in document.twice())
    if not isinstance(document.value, dict):
        problems.append(f"{shown}:1: is not a mapping; begin with `currency: KRW`")
        return
    try:
        file = _File.model_validate(document.value)
    except ValidationError as error:
        problems.extend(_say(shown, document, (), error))
        return
    zone = ZoneInfo(file.time_zone)
    for number, entry in enumerate(file.entries):
        at = ("entries", number)
        if isinstance(entry, dict) and "currency" in entry:
            line = document.line((*at, "currency"))
            problems.append(f"{shown}:{line}: entry {number + 1}: currency: stands at the head of the file; remove it")
            continue
        try:
            tariff = Tariff.model_validate({**entry, "currency": file.currency} if isinstance(entry, dict) else entry)
            begin, end = _utc(tariff.valid_from), None if tariff.valid_to is None else _utc(tariff.valid_to)
        except ValidationError as error:
            problems.extend(_say(shown, document, at, error))
            continue
        except OverflowError:
            said = f"entry {number + 1}: its time is beyond the calendar; correct it"
            problems.append(f"{shown}:{document.line(at)}: {said}")
            continue
        for name, instant in (("valid_from", tariff.valid_from), ("valid_to", tariff.valid_to)):
            if instant is not None and not _full_hour(instant, zone):
                problems.append(
                    f"{shown}:{document.line((*at, name))}: entry {number + 1}: {name}: {instant.isoformat()} is not a "
                    f"full hour in {file.time_zone}, where the tables' hours begin; a price can change only there"
                )
        known = tariff.model_copy(update={"valid_from": begin, "valid_to": end})
        yield _Located(f"{shown}:{document.line(at)}", zone, known)


def _utc(instant: datetime) -> datetime:
    if not 1970 <= instant.year <= 9000:
        raise OverflowError
    return instant.astimezone(UTC)


def _full_hour(instant: datetime, zone: ZoneInfo) -> bool:
    local = instant.astimezone(zone)
    return (local.minute, local.second, local.microsecond) == (0, 0, 0)


def _midnight(instant: datetime, zone: ZoneInfo) -> bool:
    return instant.astimezone(zone).time() == time(0)


def _overlaps(found: Sequence[_Located]) -> Iterator[str]:
    for one, following in pairwise(found):
        first, second = one.tariff, following.tariff
        if not _same_price(first, second):
            continue
        begin = second.valid_from.isoformat()
        if first.valid_from == second.valid_from:
            yield f"{following.at}: {first.label} has two entries from {begin}; remove one"
        elif first.valid_to is not None and first.valid_to > second.valid_from:
            yield (
                f"{following.at}: {first.label} from {begin} overlaps the entry that ends "
                f"{first.valid_to.isoformat()}; move one of the two"
            )


def _currencies(found: Sequence[_Located]) -> Iterator[str]:
    """Amounts of two currencies do not add up."""
    for one in found:
        if one.tariff.currency != found[0].tariff.currency:
            yield (
                f"{one.at}: its price is in {one.tariff.currency}, that of {found[0].at} in "
                f"{found[0].tariff.currency}, and the two cannot be added; give all prices in one currency"
            )
            return


def _straddling(found: Sequence[_Located]) -> Iterator[str]:
    """What is charged by SIM and whole days changes between two days."""
    for one in found:
        tariff = one.tariff
        for name, instant in (("valid_from", tariff.valid_from), ("valid_to", tariff.valid_to)):
            if tariff.by_sim and instant is not None and not _midnight(instant, one.zone):
                yield (
                    f"{one.at}: {tariff.label}: {name} in effect is {instant.astimezone(one.zone).isoformat()}, "
                    f"within a day of {one.zone.key}; a price by SIM and a base fee begin and end at midnight"
                )


def _with_ends(found: Sequence[_Located]) -> Iterator[_Located]:
    for one, following in zip_longest(found, found[1:]):
        if one.tariff.valid_to is None and following is not None and _same_price(one.tariff, following.tariff):
            yield replace(one, tariff=one.tariff.model_copy(update={"valid_to": following.tariff.valid_from}))
        else:
            yield one


def _same_price(one: Tariff, other: Tariff) -> bool:
    """Whether one can follow the other: they are for the same traffic."""
    return one.label == other.label


def _say(
    shown: str, document: strict_yaml.Document, at: tuple[str | int, ...], error: ValidationError
) -> Iterator[str]:
    entry = f"entry {int(at[1]) + 1}: " if at else ""
    for e in error.errors(include_url=False):
        where = ".".join(str(part) for part in e["loc"])
        known = Tariff.model_fields.keys() - {"currency"} if at else _File.model_fields.keys()
        what = plain.said(e)
        if e["type"] == "extra_forbidden":
            what = f"is not a known key{plain.nearest(str(e['loc'][-1]), known) or '; remove it'}"
        if e["type"] == "extra_forbidden" and where == "price_krw":
            what = "is called price now, in the currency at the head of the file; rename it"
        location = f"{shown}:{document.line((*at, *e['loc']))}: {entry}"
        yield f"{location}{where}: {what}" if where else f"{location}{what}"
