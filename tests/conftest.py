"""For all tests: what a command does to logging and environment in this process ends with its test."""

import gc
import logging
import os
import signal
import socketserver
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import structlog

from costs import Costs
from fleetgauge.settings import CONFIG_VARIABLE


def pytest_configure(config: pytest.Config) -> None:
    """No example is timed. A shell that runs pytest in the background lets it, and what it starts, ignore Ctrl-C."""
    config.pluginmanager.register(Costs(), "costs")
    hypothesis.settings.register_profile("untimed", deadline=None)  # how long an example takes says how busy we are
    hypothesis.settings.load_profile("untimed")
    socketserver.BaseServer.serve_forever.__defaults__ = (0.02,)  # else who stops a server waits half a second for it
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection() -> None:
    """The collector finds no garbage while thousands of tests are made."""
    gc.disable()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Tests, their syntax trees and the libraries stay to the end, so the collector need not look at them again and
    again: it would take an eighth of the processor time.
    """
    gc.enable()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Of pytest-xdist, for `--dist loadfile`."""
    if config.getvalue("dist") != "loadfile":
        return None
    from scheduling import Scheduling

    return Scheduling(config, log)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """A command that is called in-process logs to a stream that is closed afterwards."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = before
    root.setLevel(level)


@pytest.fixture(autouse=True)
def _configuration_as_before() -> Iterator[None]:
    """A configuration that was loaded by its path is that of child processes too, and of all settings after it."""
    before = os.environ.get(CONFIG_VARIABLE)
    yield
    if before is None:
        os.environ.pop(CONFIG_VARIABLE, None)
    else:
        os.environ[CONFIG_VARIABLE] = before
