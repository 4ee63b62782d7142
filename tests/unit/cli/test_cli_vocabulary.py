"""The command line as a whole: one name for one meaning, an example in every help, completion."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer
from typer.main import get_command

from fleetgauge.cli.app import app
from fleetgauge.cli.completion import consumers, metrics
from fleetgauge.rollup.definitions.loader import folders

CONTENT = Path(__file__).parents[3]

FLAGS = {
    "--json": "one JSON document",
    "--html": "a page in a file",
    "--dry-run": "show, and change nothing",
    "--from": "the beginning of a span",
    "--to": "its end, exclusive",
    "--until": "how long something holds",
    "--last": "a span that ends now",
    "--days": "a span that ends now, in days",
    "--unused-for": "how long a value had no rows",
    "--source": "metrics by their source",
    "--grain": "minute, hour or day",
    "--by": "dimensions to keep apart",
    "--date": "one day",
    "--month": "one month",
    "--on": "the day of what is told",
    "--found": "whether there was a fault",
    "--limit": "at most so many",
    "--reason": "why, for whoever looks later",
    "--type": "error type of dead letters",
    "--class": "class of dead letters",
    "--value": "value that dead letters go by",
    "--for": "records to accept",
    "--again": "what was replayed, or compared, before too",
    "--new-id": "an id of its own",
    "--http-port": "where /metrics is served",
    "--http-host": "where /metrics is served",
    "--url": "where /metrics of others is",
    "--interval": "seconds between two looks",
    "--follow": "again and again, until told to stop",
    "--once": "one look, then end",
    "--until-caught-up": "end at the end of the topic",
    "--from-time": "step back in a topic",
    "--verbose": "details in the log",
    "--run-backwards": "newest first",
    "--max-lag": "wait for a replica",
    "--list": "what was ordered",
    "--warn": "limit of a warning",
    "--error": "limit of a failure",
    "--what": "which text",
    "--only": "one kind",
    "--id": "what a secret is called by",
    "--check": "write nothing, fail if outdated",
    "--sql": "SQL for production",
    "--into": "the folder or store of exports",
    "--dialect": "whose SQL",
    "--database": "a database elsewhere",
    "--from-empty": "forget everything first",
    "--out": "a file, not stdout",
    "--format": "the form of a file",
    "--personal": "with what names a person",
    "--accept-losses": "take what a source has lost for deleted",
    "--payload": "a change of traffic: sizes",
    "--rate": "a change of traffic: how many",
    "--batch": "a change of traffic: several in one",
    "--retries": "a change of traffic: further tries",
    "--split": "a change of traffic: carriers",
    "--tariffs": "other prices",
    "--exports": "where exports lie",
    "--asked-by": "who answers for it",
    "--subject": "whose id it is",
}
"""Every flag and the one thing that it means. A new one comes here, after a look whether its meaning has a name yet."""

CHANGING = {
    ("migrate",),
    ("run",),
    ("backfill",),
    ("reconcile",),
    ("retention",),
    ("erase",),
    ("indices",),
    ("consume",),
    ("commands", "rebuild"),
    ("contracts", "release"),
    ("dimensions", "expire"),
    ("dlq", "accept"),
    ("fleet", "repaired"),
    ("fleet", "run"),
    ("dlq", "replay"),
    ("metrics", "accept"),
    ("metrics", "prune"),
    ("metrics", "drop"),
    ("export", "parquet"),
    ("export", "raw"),
    ("tariffs", "restate"),
}
TELLING_NOTHING = {("exporter",)}
"""Serves Prometheus' own format."""


def _commands(one: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    below = getattr(one, "commands", None)
    if below is None:
        yield path, one
        return
    for name, command in below.items():
        yield from _commands(command, (*path, name))


COMMANDS = dict(_commands(get_command(app)))
every_command = pytest.mark.parametrize("path", COMMANDS, ids=" ".join)


def _flags(command: click.Command) -> set[str]:
    return {flag for one in command.params for flag in one.opts if flag.startswith("-")} - {"--help"}


def test_flags_are_of_one_vocabulary() -> None:
    used = {flag for command in COMMANDS.values() for flag in _flags(command)}
    assert used == set(FLAGS)


@every_command
def test_what_speaks_has_json_and_what_changes_data_has_a_dry_run(path: tuple[str, ...]) -> None:
    flags = _flags(COMMANDS[path])
    assert ("--json" in flags) == (path not in TELLING_NOTHING)
    assert ("--dry-run" in flags) == (path in CHANGING)
    assert ("--from" in flags) == ("--to" in flags)


@every_command
def test_arguments_are_named_alike(path: tuple[str, ...]) -> None:
    for one in COMMANDS[path].params:
        if isinstance(one, click.Argument) or one.param_type_name == "argument":
            words = {"metric": "METRIC", "metrics": "METRIC", "names": "CONSUMER"}
            expected = "CONSUMER" if path[0] == "dlq" and one.name == "name" else words.get(one.name or "")
            assert expected in (None, one.metavar), f"{one.name} is shown as {one.metavar}"


@every_command
def test_every_help_has_an_example_that_the_command_understands(
    path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    help_text = COMMANDS[path].get_help(click.Context(COMMANDS[path], info_name=" ".join(path)))
    _, _, shown = help_text.partition("\nExample") if "\nExample" in help_text else help_text.partition("Example")
    examples = [line.strip() for line in shown.splitlines() if line.strip().startswith("fleetgauge ")]
    assert examples, help_text
    for example in examples:
        words = shlex.split(example.partition(" > ")[0])[1:]
        words = words[2:] if words[0] == "--config" else words
        assert tuple(words[: len(path)]) == path
        COMMANDS[path].make_context(" ".join(path), words[len(path) :])  # raises for what it does not know


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> typer.Context:
    monkeypatch.setenv("FLEETGAUGE_CONFIG", "")  # restored at the end, whatever a command sets
    config = tmp_path / "elsewhere.toml"
    config.write_text(f'content = "{CONTENT}"\n')
    found = typer.Context(get_command(app))
    found.params["config"] = config
    return found


def test_metrics_and_consumers_are_completed(context: typer.Context) -> None:
    assert metrics(context, "") == folders(CONTENT)
    assert metrics(context, "ren") == ["rental"]
    assert consumers(context, "device-e") == ["device-events"]
    assert metrics(context, "nothing") == []


def test_without_settings_nothing_is_completed(context: typer.Context) -> None:
    context.params["config"] = Path("/nowhere/at/all.toml")
    assert metrics(context, "") == consumers(context, "") == []
