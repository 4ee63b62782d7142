"""Telling the user how far the start has come: a bar on a terminal, plain lines in CI."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn


class StackProgress(Protocol):
    """What `Stack.up` reports; called from several threads, must not block for long."""

    def note(self, message: str) -> None:
        """One line on a step that ended or is about to begin."""
        ...

    def download(self, title: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Opens a download of `total` bytes; yields the function to call with the bytes of each chunk."""
        ...


class Silent:
    """Reports nothing: for tests and libraries."""

    def note(self, message: str) -> None:
        """Ignored."""

    @contextmanager
    def download(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """Ignored."""
        del title, total
        yield lambda _: None


class ConsoleProgress:
    """Writes to `stream`: a moving bar if it is a terminal, a line at the start and the end of a download if not."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False, soft_wrap=True)

    def note(self, message: str) -> None:
        """Print the line."""
        self._console.print(message, markup=False)

    @contextmanager
    def download(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show the bar, or print the size and later that it is complete."""
        if not self._console.is_terminal:
            self.note(f"{title}: fetching {total / 1e6:.0f} MB")
            yield lambda _: None
            self.note(f"{title}: fetched")
            return
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=self._console) as bar:
            task = bar.add_task(title, total=total)
            yield lambda count: bar.advance(task, count)
