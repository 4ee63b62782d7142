"""`fleetgauge dlq`: look into the dead letters of a consumer, and produce them again."""

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleetgauge.cli.dlq_limit import accept, limit
from fleetgauge.cli.output import configure_logging, instant, print_json, print_table
from fleetgauge.cli.selection import AsJson
from fleetgauge.cli.selection import Consumer as ConsumerName

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fleetgauge.ingest.consumer import Consumer
    from fleetgauge.ingest.deadletters.dead_letter_topic import Content, Filter
    from fleetgauge.ingest.deadletters.replay import Result
    from fleetgauge.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Dead letters: count them, look at one, produce them again, accept more.")
app.command("limit")(limit)
app.command("accept")(accept)

Types = Annotated[
    list[str] | None, typer.Option("--type", help="Only this error type. Repeatable.", show_default=False)
]
Kinds = Annotated[
    list[str] | None,
    typer.Option("--class", help="Only this class: poison, quarantine or collision. Repeatable.", show_default=False),
]
Since = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="TIME",
        help="Dead-lettered at or after this instant (ISO 8601, with its offset).",
        show_default=False,
    ),
]
Until = Annotated[
    str | None, typer.Option("--to", metavar="TIME", help="Dead-lettered before this instant.", show_default=False)
]
Limit = Annotated[
    int | None,
    typer.Option(min=1, help="At most so many, the oldest first.", show_default=False),
]


@app.command("ls")
def ls(
    name: ConsumerName,
    types: Types = None,
    kinds: Kinds = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Count dead letters by class, error type, partition and contract versions. Shows no payload.

    \b
    Examples:
      fleetgauge dlq ls device-events
      fleetgauge dlq ls device-events --type contract --from 2026-11-21T00:00:00Z
    """
    from fleetgauge.ingest.deadletters import dead_letter_topic as dead_letters

    settings, consumer = _start(name)
    which = _filter(types, kinds, since, until, limit)
    with dead_letters.opened(settings.kafka, consumer.dead_letter_topic) as topic:
        index = topic.index()
    chosen = which.of(index.dead_letters.values())
    groups = dead_letters.grouped(chosen)
    total = {
        "consumer": consumer.name,
        "topic": consumer.dead_letter_topic,
        "dead_letters": len(chosen),
        "open": sum(group.open for group in groups),
        "came_back": sum(group.came_back for group in groups),
        "replayed": sum(group.replayed for group in groups),
        "repeats": index.repeats,
        "foreign": index.foreign,
    }
    if as_json:
        print_json({**total, "groups": [asdict(group) for group in groups]})
        return
    if groups:
        print_table(
            (
                "class",
                "error type",
                "partition",
                "open",
                "came back",
                "replayed",
                "first",
                "last",
                "contracts",
                "newest",
            ),
            [
                (
                    group.kind,
                    group.error_type,
                    group.partition,
                    group.open,
                    group.came_back,
                    group.replayed,
                    _time(group.first),
                    _time(group.last),
                    group.contracts,
                    group.newest,
                )
                for group in groups
            ],
        )
    typer.echo(
        f"{total['topic']}: {total['dead_letters']} dead letters, {total['open']} open ({total['came_back']} came back "
        f"after a replay), {total['replayed']} replayed; besides {index.repeats} repeats and "
        f"{index.foreign} foreign records"
    )


@app.command("show")
def show(
    name: ConsumerName,
    key: Annotated[
        str | None,
        typer.Argument(help="topic-partition-offset, as `ls` shows it; by default the newest.", show_default=False),
    ] = None,
    types: Types = None,
    as_json: AsJson = False,
) -> None:
    """Print one dead letter whole, payload included: it may hold personal data.

    \b
    Examples:
      fleetgauge dlq show device-events
      fleetgauge dlq show device-events device-events-3-1204
    """
    from fleetgauge.errors import Terminal
    from fleetgauge.ingest.deadletters import dead_letter_topic as dead_letters

    settings, consumer = _start(name)
    with dead_letters.opened(settings.kafka, consumer.dead_letter_topic) as topic:
        known = topic.index().dead_letters
        if key is not None:
            chosen = [known[key]] if key in known else []
        else:
            chosen = dead_letters.Filter(types=tuple(types or ())).of(known.values())[-1:]
        if not chosen:
            what = (
                f"dead letter {key}"
                if key is not None
                else f"dead letter of type {', '.join(types)}"
                if types
                else "dead letter"
            )
            raise Terminal(
                f"{consumer.dead_letter_topic} holds no {what}; see `fleetgauge dlq ls {name}` for what it holds"
            )
        found = next(topic.contents(chosen))
    described = _described(found)
    if as_json:
        print_json(described)
        return
    payload = described.pop("payload")
    for what, value in described.items():
        if isinstance(value, dict):
            typer.echo(f"{what}:")
            for header, text in value.items():
                typer.echo(f"  {header}: {text}")
        else:
            typer.echo(f"{what}: {value}")
    typer.echo(f"payload ({payload['bytes']} bytes):")
    typer.echo(payload.get("text") or payload.get("escaped") or "")


@app.command("replay")
def replay(
    name: ConsumerName,
    types: Types = None,
    kinds: Kinds = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    again: Annotated[bool, typer.Option("--again", help="Also dead letters that have been replayed before.")] = False,
    new_id: Annotated[
        bool,
        typer.Option("--new-id", help="Store those of class collision under ids of their own; else they stay."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Produce open dead letters again, each to the topic and partition that it came from.

    Dead letters that the contracts of now would refuse again stay where they are. Safe to repeat and to interrupt.

    \b
    Examples:
      fleetgauge dlq replay device-events --type contract --dry-run
      fleetgauge dlq replay device-events --type contract
    """
    from fleetgauge.clock import SystemClock
    from fleetgauge.errors import Stop
    from fleetgauge.ingest.deadletters.replay import Validator
    from fleetgauge.ingest.deadletters.replay import replay as produce
    from fleetgauge.ingest.operate.launch import contracts_of
    from fleetgauge.ingest.stopping import StopRequest, on_signals

    settings, consumer = _start(name)
    validator = Validator(consumer, contracts_of(settings, consumer), SystemClock())
    which, stop = _filter(types, kinds, since, until, limit), StopRequest()
    with on_signals(stop), _progress() as tell:
        result = produce(
            settings.kafka, consumer, which, validator, stop, again=again, new_id=new_id, dry_run=dry_run, tell=tell
        )
    if as_json:
        print_json({"consumer": consumer.name, "dry_run": dry_run, **asdict(result)})
    else:
        typer.echo(_told(consumer, result, dry_run=dry_run))
    if result.failed:
        raise Stop(
            f"{sum(result.failed.values())} dead letters were not taken by Kafka ({_counts(result.failed)}) and stay "
            f"open: check topic {consumer.topic}, its limits and rights, and replay again"
        )


def _start(name: str) -> "tuple[Settings, Consumer]":
    from fleetgauge import settings
    from fleetgauge.ingest.consumer import load_consumer

    configure_logging()
    loaded = settings.load()
    return loaded, load_consumer(loaded.content, name)


def _filter(
    types: list[str] | None, kinds: list[str] | None, since: str | None, until: str | None, limit: int | None
) -> "Filter":
    from fleetgauge.ingest.deadletters.dead_letter_topic import Filter

    return Filter(
        tuple(types or ()),
        tuple(kinds or ()),
        None if since is None else instant("--from", since),
        None if until is None else instant("--to", until),
        limit,
    )


def _progress() -> "Any":
    """A context manager that gives a function to call with (done, all): a bar on a terminal, else nothing."""
    import sys
    from contextlib import contextmanager

    @contextmanager
    def bar() -> "Iterator[Callable[[int, int], None]]":
        if not sys.stderr.isatty():
            yield lambda _done, _all: None
            return
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("replaying", total=None)
            yield lambda done, all_: progress.update(task, completed=done, total=all_)

    return bar()


def _told(consumer: "Consumer", result: "Result", *, dry_run: bool) -> str:
    verb = "would be replayed" if dry_run else "replayed"
    text = f"{consumer.dead_letter_topic}: {result.replayed} of {result.chosen} dead letters {verb} to {consumer.topic}"
    if result.still_broken:
        text += f"; left, because they would be dead-lettered again: {_counts(result.still_broken)}"
        if "collision" in result.still_broken:
            text += " (collisions need --new-id)"
    if result.stopped:
        text += "; stopped early, the rest is still open"
    return text


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}Z"


def _described(content: "Content") -> dict[str, Any]:
    from datetime import UTC

    dead_letter = content.dead_letter
    return {
        "dead_letter": dead_letter.alias or dead_letter.key,
        "class": dead_letter.kind,
        "error_type": dead_letter.error_type,
        "reason": content.reason,
        "contracts": dead_letter.contracts,
        "appended_at": datetime.fromtimestamp(content.appended_ms / 1000, UTC) if content.appended_ms >= 0 else None,
        "dead_lettered_at": dead_letter.dead_lettered_at,
        "tries": dead_letter.tries,
        "replayed_at": dead_letter.replayed_at,
        "key": None if content.key is None else _text(content.key)[1],
        "headers": {name: _text(value)[1] for name, value in content.headers},
        "payload": _payload(content.payload),
    }


def _payload(value: bytes | None) -> dict[str, Any]:
    if value is None:
        return {"bytes": 0, "escaped": "none: the record is a tombstone"}
    kind, text = _text(value)
    return {"bytes": len(value), kind: text}


def _text(value: bytes) -> tuple[str, str]:
    """The text and whether it is the bytes as they are; control characters must not reach a terminal."""
    try:
        text = value.decode()
        if all(character.isprintable() or character in "\n\t" for character in text):
            return "text", text
    except UnicodeDecodeError:
        pass
    return "escaped", repr(value)[2:-1]
