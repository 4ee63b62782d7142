"""`fleetgauge erase`: one person's id leaves every store, and a receipt without it stays."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from fleetgauge.cli.selection import AsJson

if TYPE_CHECKING:
    from fleetgauge.erasure.receipt import Receipt


def erase(
    rider: Annotated[
        str | None, typer.Argument(help="The id; - reads it from standard input, so that no shell keeps it.")
    ] = None,
    subject: Annotated[str, typer.Option(help="Whose id it is, as contracts call it.")] = "rider",
    exports: Annotated[
        list[str] | None, typer.Option("--exports", help="A folder or URI of exports; several.", show_default=False)
    ] = None,
    by: Annotated[
        str | None, typer.Option("--asked-by", help="Who erases; your login, unless told.", show_default=False)
    ] = None,
    receipts: Annotated[bool, typer.Option("--list", help="Show the receipts of before; erase nobody.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what names the person, change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase a person from events, dead letters, metrics, logs and exports. Safe to repeat and to interrupt.

    First in the operational database: what is still there is computed again.

    \b
    Examples:
      fleetgauge erase r-004217 --dry-run
      fleetgauge erase - --exports s3://bucket/fleet
      fleetgauge erase --list
    """
    import getpass
    import sys

    from fleetgauge import settings
    from fleetgauge.cli.output import configure_logging, print_json
    from fleetgauge.erasure.erase import ErasureOrder, written_receipts
    from fleetgauge.erasure.erase import erase as run
    from fleetgauge.errors import Terminal

    configure_logging(quiet=True)
    loaded = settings.load()
    if receipts:
        if rider is not None:
            raise Terminal("--list shows the receipts of all persons; leave the id out")
        found = written_receipts(loaded)
        if as_json:
            print_json({"receipts": [asdict(one) for one in found]})
        else:
            typer.echo("\n".join(_told(one) for one in found) or "nobody has been erased")
        return
    if rider is None:
        raise Terminal("name the id of the person, or - to read it from standard input")
    order = ErasureOrder(
        sys.stdin.readline().rstrip("\r\n") if rider == "-" else rider,
        by or getpass.getuser(),
        subject,
        tuple(exports or ()),
    )
    receipt = run(loaded, order, dry_run=dry_run, tell=lambda step: typer.echo(step, err=True))
    if as_json:
        print_json({"dry_run": dry_run, **asdict(receipt)})
    else:
        typer.echo(_told(receipt))


def _told(receipt: "Receipt") -> str:
    if receipt.id is None:
        said = "names the person now"
    else:
        said = f"erasure {receipt.id} by {receipt.asked_by}, begun {receipt.asked_at:%Y-%m-%d %H:%M:%S}Z"
        said += ", finished" if receipt.finished_at is not None else ", broken off: erase again"
    lines = [f"{receipt.subject} {receipt.digest[:16]}…: {said}"]
    lines += [f"  {one.store}: {one.count} {one.what}" for one in receipt.found] or ["  nothing"]
    for topic, until in receipt.log_until.items():
        lines.append(f"  topic {topic}: records of before may stand until {until or 'for ever: it has no retention'}")
    return "\n".join(lines)
