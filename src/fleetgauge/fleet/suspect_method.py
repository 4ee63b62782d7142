"""`sql/fleet/suspects.yaml` and the two queries beside it: what the method has to know of a fleet."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from fleetgauge.errors import Terminal
from fleetgauge.files import plain, strict_yaml
from fleetgauge.files import text as texts
from fleetgauge.files.text import Unreadable
from fleetgauge.fleet.episodes import Rules
from fleetgauge.fleet.points import Weights

FOLDER = Path("sql") / "fleet"
FILE = "suspects.yaml"
_REVISION = 1
"""Of the code that judges: raised when it gives other points for the same evidence."""
_WEIGHTS = tuple(one.name for one in fields(Weights))


class MethodError(Terminal):
    """The files are not valid; `problems` has one line for each fault, beginning with file and line."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("sql/fleet is not valid; correct these:\n" + "\n".join(f"  {p}" for p in problems))


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{plain.shown(value)} is not an IANA time zone; write one such as Asia/Seoul") from None
    return value


def _known(value: dict[str, float]) -> dict[str, float]:
    for name in value:
        if name not in _WEIGHTS:
            raise ValueError(f"{name} is not a weight{plain.nearest(name, _WEIGHTS) or '; see docs/suspects.md'}")
    return value


_Text = Annotated[str, Field(strict=True, min_length=1, max_length=64)]


class MethodFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    consumer: _Text
    source: _Text
    time_zone: Annotated[str, AfterValidator(_zone)]
    fault_codes: list[_Text]
    kept_days: Annotated[int, Field(strict=True, ge=14, le=3_660)]
    weights: Annotated[
        dict[str, Annotated[float, Field(strict=True, ge=-1_000, le=1_000)]], AfterValidator(_known)
    ] = {}


@dataclass(frozen=True)
class Method:
    """How suspects are found in this fleet."""

    consumer: str
    source: str
    time_zone: str
    kept_days: int
    rules: Rules
    trips_sql: str
    out_of_service_sql: str

    @property
    def version(self) -> str:
        """Changes with everything that alters points."""
        rules = {"codes": sorted(self.rules.fault_codes), "weights": asdict(self.rules.weights)}
        parts = [_REVISION, self.time_zone, rules, self.trips_sql, self.out_of_service_sql]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]


def exists(content: Path) -> bool:
    """Whether this fleet's suspects are looked for at all."""
    return (content / FOLDER / FILE).exists()


def load(content: Path) -> Method:
    """Read the method. Reads files only; raises `MethodError` naming every fault."""
    problems: list[str] = []
    file = _read(content, problems)
    queries = [_query(content, name, problems) for name in ("trips.sql", "out_of_service.sql")]
    if problems or file is None:
        raise MethodError(problems)
    rules = Rules(frozenset(file.fault_codes), replace(Weights(), **_typed(file.weights)))
    return Method(file.consumer, file.source, file.time_zone, file.kept_days, rules, *queries)


def _typed(weights: dict[str, float]) -> dict[str, Any]:
    return {name: int(value) if name == "empty_percent" else value for name, value in weights.items()}


def _query(content: Path, name: str, problems: list[str]) -> str:
    try:
        return texts.read(content / FOLDER / name).strip().rstrip(";")
    except Unreadable as error:
        problems.append(f"{FOLDER / name}:{error.line}: {error}")
        return ""


def _read(content: Path, problems: list[str]) -> MethodFile | None:
    shown = FOLDER / FILE
    try:
        document = strict_yaml.read(texts.read(content / shown))
        problems += [f"{shown}:{line}: key {key!r} stands here twice; remove one" for line, key in document.twice()]
        return MethodFile.model_validate(document.value)
    except Unreadable as error:
        problems.append(f"{shown}:{error.line}: {error}")
    except ValidationError as error:
        for one in error.errors(include_url=False):
            said = plain.said(one)
            if one["type"] == "extra_forbidden":
                said = (
                    f"is not a known key{plain.nearest(str(one['loc'][-1]), MethodFile.model_fields) or '; remove it'}"
                )
            where = ".".join(map(str, one["loc"]))
            problems.append(f"{shown}:{document.line(one['loc'])}: {where + ': ' if where else ''}{said}")
    return None
