"""What a shell offers for a metric or a consumer: names of folders and files, without reading a definition."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pathlib import Path


def metrics(context: typer.Context, incomplete: str) -> list[str]:
    """Metrics of the content that begin so; none where there are no settings. Never raises."""
    from fleetgauge.rollup.definitions.loader import folders

    content = _content(context)
    return [] if content is None else _begin(folders(content), incomplete)


def consumers(context: typer.Context, incomplete: str) -> list[str]:
    """Consumers of the content that begin so, as their topics are written. Never raises."""
    content = _content(context)
    found = [] if content is None else [path.stem.replace("_", "-") for path in (content / "consumers").glob("*.py")]
    return _begin(found, incomplete)


def _content(context: typer.Context) -> "Path | None":
    from fleetgauge import settings
    from fleetgauge.errors import FleetgaugeError

    config = context.find_root().params.get("config")  # the root command is not run for a completion
    try:
        return settings.load(config).content
    except (FleetgaugeError, OSError):
        return None


def _begin(names: list[str], incomplete: str) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))
