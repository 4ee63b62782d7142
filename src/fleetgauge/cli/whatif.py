"""`fleetgauge whatif`: what a change of the traffic, or of its prices, would save in a year."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleetgauge.cli.output import configure_logging, print_json
from fleetgauge.cli.selection import AsJson
from fleetgauge.errors import Terminal

if TYPE_CHECKING:
    from fleetgauge.cost.estimates import Amounts, Estimate
    from fleetgauge.cost.whatif import Change

_Many = list[str] | None


def whatif(
    payload: Annotated[
        _Many,
        typer.Option(
            metavar="SUBJECT[:DIRECTION]=SIZE",
            help="Payloads of at most so many bytes (1024), or a part of them (50%).",
            show_default=False,
        ),
    ] = None,
    rate: Annotated[
        _Many,
        typer.Option(
            metavar="SUBJECT=PART",
            help="Fewer messages: a longer interval, a command sent less often (50%).",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[
        _Many, typer.Option(metavar="SUBJECT=N", help="So many messages sent as one.", show_default=False)
    ] = None,
    retries: Annotated[
        _Many, typer.Option(metavar="SUBJECT=PART", help="Fewer further tries of a command (0%).", show_default=False)
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="CARRIER=PART,…",
            help="Traffic of these carriers spread over them (skt=100%,kt=0%).",
            show_default=False,
        ),
    ] = None,
    tariffs: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Prices of FOLDER/sql/tariffs instead.", show_default=False),
    ] = None,
    begin: Annotated[
        str | None, typer.Option("--from", metavar="DATE", help="Days of the past from here on.", show_default=False)
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="DATE", help="… up to here, exclusive.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a change would save in a year, from the counts of the past, with a range and what is taken for granted.

    Changes add up, in the order payload, rate, batch, retries, split. SUBJECT is a command type or a kind of telemetry.
    Nothing is changed.

    \b
    Examples:
      fleetgauge whatif --payload locate:uplink=1024
      fleetgauge whatif --rate location=50% --retries unlock=0%
      fleetgauge whatif --batch location=4
      fleetgauge whatif --split skt=70%,kt=30%,lguplus=0% --json
    """
    from fleetgauge import settings
    from fleetgauge.cost import cost_queries

    configure_logging()
    changes = list(_changes(payload, rate, batch, retries, split))
    if not changes and tariffs is None:
        raise Terminal("nothing to change; say --payload, --rate, --batch, --retries, --split or --tariffs")
    found = cost_queries.whatif(settings.load(), changes, tariffs, _day("--from", begin), _day("--to", end))
    said = [change.said for change in changes] + ([f"prices of {tariffs}"] if tariffs is not None else [])
    if as_json:
        print_json({"changes": said, **asdict(found)})
        return
    for line in _told(said, found):
        typer.echo(line)


def _changes(payload: _Many, rate: _Many, batch: _Many, retries: _Many, split: str | None) -> "Iterator[Change]":
    from fleetgauge.cost import whatif as what

    for text in payload or ():
        of, size = _pair("--payload", text)
        subject, _, direction = of.partition(":")
        if direction not in ("", "uplink", "downlink"):
            raise Terminal(f"--payload {text!r}: direction {direction!r} is neither uplink nor downlink")
        if size.endswith("%"):
            yield what.payload(subject, direction or None, None, _part("--payload", size))
        else:
            yield what.payload(subject, direction or None, _count("--payload", size, 0), None)
    for text in rate or ():
        subject, part = _pair("--rate", text)
        yield what.rate(subject, _part("--rate", part))
    for text in batch or ():
        subject, count = _pair("--batch", text)
        yield what.batch(subject, _count("--batch", count, 2))
    for text in retries or ():
        subject, part = _pair("--retries", text)
        yield what.retries(subject, _part("--retries", part))
    if split is not None:
        shares = dict(_pair("--split", text) for text in split.split(","))
        yield what.split({carrier: _part("--split", part) for carrier, part in shares.items()})


def _told(said: list[str], found: "Estimate") -> Iterator[str]:
    for line in said:
        yield f"if {line}"
    yield f"a year costs {_range(found.year_before)} {found.currency} as it is"
    yield f"a year saves {_range(found.saving)} {found.currency}"
    share = found.saving.expected / found.year_before.expected if found.year_before.expected else 0
    yield f"  that is {share:.1%} of the cost of {found.messages:,} messages from {found.first} to {found.last}"
    if found.unpriced_messages or found.by_sim_messages:
        yield (
            f"  left out: {found.unpriced_messages:,} messages without a price, {found.by_sim_messages:,} that are "
            "charged by SIM and not known by SIM"
        )
    yield "assumed:"
    for line in found.assumptions:
        yield f"  - {line}"


def _range(amounts: "Amounts") -> str:
    return f"{amounts.expected:,.0f} ({amounts.low:,.0f} to {amounts.high:,.0f})"


def _pair(option: str, text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not name or not found or not value:
        raise Terminal(f"{option} {text!r} is not NAME=VALUE; write it like locate=50%")
    return name.strip(), value.strip()


def _part(option: str, text: str) -> Fraction:
    try:
        found = Fraction(text.removesuffix("%")) / 100
    except (ValueError, ZeroDivisionError):
        found = Fraction(-1)
    if not text.endswith("%") or not 0 <= found <= 100:
        raise Terminal(f"{option}: {text!r} is not a part; write it like 50%")
    return found


def _count(option: str, text: str, least: int) -> int:
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= 65_535:
        raise Terminal(f"{option}: {text!r} is not a whole number from {least:,} to 65,535")
    return int(text)


def _day(option: str, text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise Terminal(f"{option} {text!r} is not a date; write it like 2026-11-21") from None
