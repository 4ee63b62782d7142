"""The command line over a `World`: a content folder, a configuration file, and `fleetgauge` called in this process."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from command_line import in_process
from rollup_world import World

from fleetgauge.rollup import Definition, load_definitions

METRIC = """
metric: ride
source: operations
event_time: happened_at
change_time: changed_at
immutable: Facts stay where they are.
grace: 0s
dimensions:
  zone: {column: zone, limit: 16}
  kind: {column: kind, limit: 16}
measures:
  n: {agg: count}
  open: {agg: count, where: {state: open}}
  length: {agg: sum, of: length, type: integer}
  score: {agg: percentile, of: score}
  kinds: {agg: distinct, of: length, personal: false}
  share: {agg: ratio, numerator: open, denominator: n}
rollups: {by_zone: [zone]}
"""
SOURCE = "SELECT id, happened_at, changed_at, zone, kind, state, length, score FROM facts\n"


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Shell:
    """Runs commands with a configuration of their own."""

    world: World
    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "fleetgauge.toml"

    def write(self, metric: str = METRIC, source: str = SOURCE, name: str = "ride") -> Definition:
        """Put a metric into the content folder."""
        home = self.folder / "sql" / "metrics" / name
        home.mkdir(parents=True, exist_ok=True)
        (home / "metric.yaml").write_text(metric)
        (home / "source.sql").write_text(source)
        return load_definitions(self.folder)[name]

    def configure(self, **more: str) -> None:
        """Write the configuration; `more` are lines of the source's section."""
        settings = self.world.settings
        owner = settings.metrics.owner_url
        assert owner is not None
        lines = [
            f'content = "{self.folder}"',
            "[metrics]",
            f'url = "{settings.metrics.url.get_secret_value()}"',
            f'owner_url = "{owner.get_secret_value()}"',
            "[sources.operations]",
            f'url = "{settings.source("operations").url.get_secret_value()}"',
            *(f"{name} = {value}" for name, value in more.items()),
        ]
        self.config.write_text("\n".join(lines))

    def __call__(self, *arguments: str, code: int | None = 0) -> Answer:
        """Run `fleetgauge`; asserts its exit code."""
        answer = Answer(*in_process(*arguments, FLEETGAUGE_CONFIG=str(self.config), COLUMNS="200"))
        assert code is None or answer.code == code, answer
        assert "Traceback" not in answer.err
        return answer
