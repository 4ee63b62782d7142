"""A Python that can import only fleetgauge and what its core depends on: a consumer's image, without building one."""

import json
import re
import sys
from functools import cache
from importlib import metadata

from packaging.requirements import Requirement

_HOOK = """
import sys
class Refuse:
    refused = frozenset({refused})
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.refused:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
sys.meta_path.insert(0, Refuse())
"""


def canonical(name: str) -> str:
    """A distribution's name as requirements compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def closure(extra: str = "") -> frozenset[str]:
    """The distributions that installing fleetgauge, with an extra, brings: itself, its requirements and theirs."""
    found: set[tuple[str, str]] = set()
    todo = [("fleetgauge", ""), ("fleetgauge", extra)]
    while todo:
        name, wanted = todo.pop()
        if (name, wanted) in found:
            continue
        found.add((name, wanted))
        try:
            requires = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # for another platform, by a marker that this one does not evaluate
            continue
        for requirement in map(Requirement, requires):
            if requirement.marker is None or requirement.marker.evaluate({"extra": wanted}):
                todo += [(canonical(requirement.name), one) for one in ["", *requirement.extras]]
    return frozenset(name for name, _ in found)


def python(code: str) -> list[str]:
    """The command line that runs `code` where modules of other distributions fail to import, as if not installed."""
    core = closure()
    refused = sorted(
        module
        for module, distributions in metadata.packages_distributions().items()
        if not core & {canonical(name) for name in distributions}
    )
    return [sys.executable, "-c", _HOOK.format(refused=json.dumps(["fleetlab", *refused])) + code]
