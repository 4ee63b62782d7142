"""Effective-dated prices of mobile traffic: `sql/tariffs/*.yaml` read, checked, and put into `fleetgauge.tariff`."""

from collections.abc import Iterator
from datetime import UTC, datetime
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
    field_validator,
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


class Tariff(BaseModel):
    """What one carrier charges from `valid_from` until `valid_to` or its next entry (instants, UTC once loaded)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    carrier: Annotated[str, Field(strict=True, min_length=1, max_length=24)]
    valid_from: AwareDatetime
    valid_to: AwareDatetime | None = None
    overhead_bytes: Annotated[int, Field(strict=True, ge=0, le=65_535)]
    """Bytes that the protocols add to each message."""
    step_bytes: Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)]
    """A message is billed in whole steps of this many bytes."""
    price_krw: Annotated[Decimal, BeforeValidator(_quoted), Field(ge=0, max_digits=18, decimal_places=9)]
    """Price of one step."""
    rounding: Literal["message"]
    """What is rounded up to whole steps."""

    @field_validator("rounding", mode="before")
    @classmethod
    def _known_scope(cls, value: object) -> object:
        if value in ("sim_day", "sim_month"):
            raise ValueError(f"{value} is not there yet, for it needs bytes by SIM and day; only `message` is")
        return value

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.valid_to is not None and self.valid_to <= self.valid_from:
            raise ValueError("valid_to must come after valid_from")
        return self


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    currency: Literal["KRW"]
    time_zone: Annotated[str, AfterValidator(_zone)]
    entries: Annotated[list[Any], Field(min_length=1)]


def load_tariffs(content_root: Path) -> tuple[Tariff, ...]:
    """All entries below `<content_root>/sql/tariffs`, by carrier and time, each with the `valid_to` it has in effect.

    Reads files only. Raises `TariffError` with every problem of every file. No file: nothing can be priced.
    """
    problems: list[str] = []
    found: list[tuple[str, Tariff]] = []
    for path in sorted((content_root / TARIFFS_FOLDER).glob("*.yaml")):
        shown = str(path.relative_to(content_root))
        found.extend(_read(path, shown, problems))
    found.sort(key=lambda item: (item[1].carrier, item[1].valid_from))
    for (_, one), (shown, next_one) in pairwise(found):
        if one.carrier != next_one.carrier:
            continue
        if one.valid_from == next_one.valid_from:
            problems.append(f"{shown}: {one.carrier} has two entries from {one.valid_from.isoformat()}; remove one")
        elif one.valid_to is not None and one.valid_to > next_one.valid_from:
            problems.append(
                f"{shown}: {one.carrier} from {next_one.valid_from.isoformat()} overlaps the entry "
                f"that ends {one.valid_to.isoformat()}; move one of the two"
            )
    if problems:
        raise TariffError(problems)
    return tuple(_with_ends([tariff for _, tariff in found]))


def apply_tariffs(connection: Connection, content_root: Path) -> int:
    """Make `fleetgauge.tariff` equal to the files, in one transaction; returns the number of entries.

    Called by `fleetgauge migrate` with the owner's login. Raises `TariffError` before anything is changed.
    """
    tariffs = load_tariffs(content_root)
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM fleetgauge.tariff")
        cursor.executemany(
            """
            INSERT INTO fleetgauge.tariff
                (carrier, valid_from, valid_to, overhead_bytes, step_bytes, price_krw, rounding)
            VALUES (%s, %s, coalesce(%s::timestamptz, 'infinity'), %s, %s, %s, %s)
            """,
            [
                (t.carrier, t.valid_from, t.valid_to, t.overhead_bytes, t.step_bytes, t.price_krw, t.rounding)
                for t in tariffs
            ],
        )
    return len(tariffs)


def _read(path: Path, shown: str, problems: list[str]) -> Iterator[tuple[str, Tariff]]:
    """Location (file and line) and entry, of those that are valid."""
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
        try:
            tariff = Tariff.model_validate(entry)
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
        location = f"{shown}:{document.line(at)}"
        yield location, tariff.model_copy(update={"valid_from": begin, "valid_to": end})


def _utc(instant: datetime) -> datetime:
    if not 1970 <= instant.year <= 9000:
        raise OverflowError
    return instant.astimezone(UTC)


def _full_hour(instant: datetime, zone: ZoneInfo) -> bool:
    local = instant.astimezone(zone)
    return (local.minute, local.second, local.microsecond) == (0, 0, 0)


def _with_ends(tariffs: list[Tariff]) -> Iterator[Tariff]:
    for tariff, following in zip_longest(tariffs, tariffs[1:]):
        if tariff.valid_to is None and following is not None and following.carrier == tariff.carrier:
            yield tariff.model_copy(update={"valid_to": following.valid_from})
        else:
            yield tariff


def _say(
    shown: str, document: strict_yaml.Document, at: tuple[str | int, ...], error: ValidationError
) -> Iterator[str]:
    entry = f"entry {int(at[1]) + 1}: " if at else ""
    for e in error.errors(include_url=False):
        where = ".".join(str(part) for part in e["loc"])
        known = Tariff.model_fields if at else _File.model_fields
        what = plain.said(e)
        if e["type"] == "extra_forbidden":
            what = f"is not a known key{plain.nearest(str(e['loc'][-1]), known) or '; remove it'}"
        location = f"{shown}:{document.line((*at, *e['loc']))}: {entry}"
        yield f"{location}{where}: {what}" if where else f"{location}{what}"
