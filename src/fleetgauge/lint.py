"""Everything that can be said about the content without any server. What `fleetgauge lint` prints."""

from dataclasses import dataclass
from pathlib import Path

from fleetgauge.cost.tariff import TariffError, load_tariffs
from fleetgauge.document_sources import document_problems
from fleetgauge.fleet import suspect_method
from fleetgauge.rollup import DefinitionError, read_definitions
from fleetgauge.rollup.definitions import current_state, moving, row_limits
from fleetgauge.rollup.metric_tests import load_tests


@dataclass(frozen=True)
class Checked:
    """What there is, and what is wrong with it."""

    contracts: tuple[str, ...]
    consumers: tuple[str, ...]
    time_zones: dict[str, str]
    """Metric → the zone of its days, of the metrics that are valid."""
    problems: tuple[str, ...]
    """One line for each, beginning with file and line."""


def check(content: Path) -> Checked:
    """Check contracts, consumers, metrics with their tests, and tariffs. Reads files only; raises nothing."""
    from fleetgauge.contracts import check as of_contracts
    from fleetgauge.contracts.located import located
    from fleetgauge.ingest.check import lint_consumers as of_consumers

    events = any((content / part).exists() for part in ("schemas/events", "consumers"))  # else metrics are all there is
    contracts, found = of_contracts.check(content, of_consumers.RESERVED) if events else ({}, [])
    problems = located(content, found)
    consumers, found = of_consumers.check(content, contracts)
    problems += of_consumers.located(found)
    loaded = read_definitions(content)
    problems += loaded.problems
    definitions = loaded.valid.values()
    problems += current_state.problems(content, definitions)
    problems += moving.problems(content, definitions)
    problems += row_limits.problems(content, definitions)
    problems += document_problems(content, definitions)
    try:
        load_tests(content, definitions)
    except DefinitionError as error:
        problems += error.problems
    try:
        load_tariffs(content)
    except TariffError as error:
        problems += error.problems
    try:
        if suspect_method.exists(content):
            suspect_method.load(content)
    except suspect_method.MethodError as error:
        problems += error.problems
    return Checked(
        tuple(sorted(contracts)),
        tuple(sorted(consumer.name for consumer in consumers.values())),
        {name: one.time_zone for name, one in sorted(loaded.valid.items())},
        tuple(problems),
    )
