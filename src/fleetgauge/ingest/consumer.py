"""What a team declares in `consumers/*.py`: one `Consumer` a file."""

import importlib.util
import re
import traceback
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path

from fleetgauge.errors import Terminal, sure
from fleetgauge.files import text as texts
from fleetgauge.files.plain import nearest, shown
from fleetgauge.files.text import Unreadable


@dataclass(frozen=True)
class DeadLetterLimit:
    """When to stop, for each partition, rather than to empty a topic into its dead letters after a bad deploy.

    Counted in the order of offsets and kept with the committed offsets, so that a restart forgets nothing.
    """

    consecutive: int = 200
    """So many broken records in a row."""
    ratio: float = 0.1
    """This share of the recent records, looked at whenever `minimum` more or less recent ones have been seen."""
    minimum: int = 2_000
    """Records of a partition before `ratio` is looked at; also how far back "recent" reaches, roughly."""
    by: str | None = None
    """A dotted path of the payload, for example `device.model`: a value of it that alone breaks the limit is
    quarantined (its broken records become dead letters of class `quarantine`), and all others go on. None: stop."""
    quarantine_ratio: float = 0.5
    """Everything stops nevertheless when this share of the recent records has been quarantined …"""
    quarantine_at_most: int = 100_000
    """… or so many of one value in a partition: the dead-letter topic does not keep them for ever."""

    def __post_init__(self) -> None:
        """Raises `Terminal` naming what is wrong."""
        if (
            min(self.consecutive, self.minimum, self.quarantine_at_most) < 1
            or min(self.ratio, self.quarantine_ratio) < 0
        ):
            raise Terminal(
                "dead_letters: consecutive, minimum and quarantine_at_most are at least 1, shares at least 0"
            )
        if self.by is not None and not re.fullmatch(r"[^.\s]+(\.[^.\s]+)*", self.by):
            raise Terminal(f"dead_letters: by={self.by!r} is no dotted path of a payload, such as 'device.model'")


@dataclass(frozen=True)
class Consumer:
    """One topic into one family of daily indices."""

    name: str
    """Also names the Kafka consumer group: `fleetgauge-<name>`."""
    topic: str
    contracts: tuple[str, ...]
    """Event kinds that are accepted: names of files in `schemas/events`."""
    index: str
    """Prefix of the daily indices `<index>-YYYY.MM.DD`, and the read alias over them."""
    accept_past: timedelta = timedelta(days=7)
    """How much older than its Kafka timestamp an event may be."""
    accept_future: timedelta = timedelta(minutes=10)
    """How much newer than its Kafka timestamp an event may be: clocks differ."""
    accept_age: timedelta = timedelta(days=35)
    """How old a record's time may be, by this machine's clock, where only its producer vouches for it."""
    new_days: int = 45
    """Daily indices that a process may create within an hour; beyond that it waits."""
    retention: timedelta | None = None
    """How long a day is kept after its end; None keeps it for ever. At least a day longer than `accept_past`."""
    dead_letters: DeadLetterLimit = field(default_factory=DeadLetterLimit)
    batch_bytes: int = 2 * 1024 * 1024
    """A bulk request is sent when it has reached this size …"""
    batch_records: int = 5_000
    """… or this many events …"""
    linger: timedelta = timedelta(milliseconds=200)
    """… or when its first event has waited this long."""
    requests: int = 2
    """Bulk requests under way at the same time. Memory is bounded by about (requests + 1) × batch_bytes × 3."""

    @property
    def group(self) -> str:
        """The Kafka consumer group."""
        return f"fleetgauge-{self.name}"

    @property
    def dead_letter_topic(self) -> str:
        """Where events go that can never be stored."""
        return f"{self.topic}.dlq"

    def __post_init__(self) -> None:
        """Raises `Terminal` naming what is wrong."""
        for names, kind, words in _KINDS:
            for name in names:
                value = getattr(self, name)
                if not isinstance(value, kind) or isinstance(value, bool):
                    raise Terminal(f"consumer {self.name!r}: {name} is {shown(value)}; write {words}")
        if not all(isinstance(kind, str) for kind in self.contracts):
            raise Terminal(f"consumer {self.name!r}: contracts holds something else than names; write texts")
        for what, value, pattern in (
            ("name", self.name, r"[a-z0-9][a-z0-9-]*"),
            ("index", self.index, r"[a-z0-9][a-z0-9-]*"),
            ("topic", self.topic, r"[A-Za-z0-9._-]{1,245}"),
        ):
            if not re.fullmatch(pattern, value):
                raise Terminal(f"consumer {self.name!r}: {what} {value!r} must match {pattern}")
        if self.retention is not None and self.retention < self.accept_past + timedelta(days=1):
            raise Terminal(
                f"consumer {self.name}: retention of {self.retention} is shorter than accept_past and a day, so that "
                "accepted events would be deleted at once; raise it, or lower accept_past"
            )
        if min(self.batch_bytes, self.batch_records, self.requests) < 1:
            raise Terminal(f"consumer {self.name}: batch_bytes, batch_records and requests must be at least 1")


_KINDS: tuple[tuple[tuple[str, ...], type | tuple[type, ...], str], ...] = (
    (("name", "topic", "index"), str, "a text"),
    (("contracts",), tuple, 'names with a comma after each, such as ("battery",)'),
    (("accept_past", "accept_future", "linger"), timedelta, "a time, such as timedelta(days=7)"),
    (("retention",), (timedelta, type(None)), "a time, such as timedelta(days=90), or None"),
    (("dead_letters",), DeadLetterLimit, "DeadLetterLimit(…)"),
    (("batch_bytes", "batch_records", "requests"), int, "a whole number"),
)
"""Fields, what they must be, and the words for it."""


def _cause(error: BaseException) -> str:
    """What went wrong while the file was run; of a declaration, without Python's names for it."""
    said = str(error)
    if unknown := re.search(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", said):
        owner = DeadLetterLimit if unknown[1] == "DeadLetterLimit" else Consumer
        return (
            f"{unknown[2]!r} is not a field of {unknown[1]}{nearest(unknown[2], [one.name for one in fields(owner)])}"
        )
    if missing := re.search(r"missing \d+ required (?:keyword-only|positional) arguments?: (.*)", said):
        return f"the declaration lacks {missing[1]}"
    return f"{type(error).__name__}: {said}"


def _line(error: BaseException, path: Path) -> int:
    """The line of the file where an error came from."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return frames[-1].lineno or 1 if frames else 1


def load_consumer(content: Path, name: str) -> Consumer:
    """The consumer that `consumers/<name>.py` declares as `consumer`; `-` and `_` are the same. Raises `Terminal`."""
    folder = content / "consumers"
    path = folder / f"{name.replace('-', '_')}.py"
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.py"))) or "none"
        raise Terminal(
            f"consumer {name!r} is not declared in {folder} (known: {known}); name one of these or add a file"
        )
    try:
        texts.read(path)
    except Unreadable as error:
        raise Terminal(f"consumer file {path}:{error.line}: {error}") from None
    spec = sure(importlib.util.spec_from_file_location(f"consumers.{path.stem}", path), f"an importer of {path}")
    loader = sure(spec.loader, f"an importer of {path}")
    module = importlib.util.module_from_spec(spec)
    try:
        loader.exec_module(module)
    except Terminal:
        raise
    except SyntaxError as error:
        said = f"cannot be read as Python: {error.msg}; fix the file"
        raise Terminal(f"consumer file {path}:{error.lineno or 1}: {said}") from None
    except (Exception, SystemExit) as error:
        said = f"cannot be read: {_cause(error)}; fix the file"
        raise Terminal(f"consumer file {path}:{_line(error, path)}: {said}") from error
    consumer = getattr(module, "consumer", None)
    if not isinstance(consumer, Consumer):
        raise Terminal(f"consumer file {path}:1: declares no `consumer = Consumer(...)`; add it")
    return consumer
