"""The indices of one consumer: what the pipeline adds to a document, the template, and their creation.

The index of an event is chosen by its event time alone, after a literal prefix: a replay finds the same index, and with
it the same ids. Each index is created explicitly from the contracts before the first write to it.
"""

import hashlib
import json
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import structlog

from fleetgauge.contracts import ContractSet
from fleetgauge.elasticsearch.admin_requests import ask
from fleetgauge.elasticsearch.elasticsearch_errors import Forbidden
from fleetgauge.elasticsearch.transport import Bulk
from fleetgauge.errors import Terminal, Transient
from fleetgauge.ingest.indices.lifecycle import lifecycle

POSITION = "geo.location"
COARSE_TILE = 15
"""Zoom of the map tile whose middle is what an expired position leaves in `geo.location`: some 970 m wide in Seoul."""
SUFFIX: Mapping[str, Mapping[str, Any]] = {
    "@timestamp": {"type": "date", "format": "epoch_millis"},
    "event.ingested": {"type": "date", "format": "epoch_millis", "index": False},
    "kafka.partition": {"type": "integer", "index": False},
    "kafka.offset": {"type": "long"},
}
"""What is spliced to every document: field → mapping. A payload may not hold these."""
DAY_MS = 86_400_000
NEAR_MS = 3_600_000
"""How near to UTC midnight an event is looked for in the index on its other side too, in case it was sent again."""
_HOUR_S = 3600.0
END_MS = 253_402_300_800_000
"""The first instant that has no index: the year 10000, milliseconds since the epoch. None before the epoch has one."""


def suffix_fields(located: bool) -> Mapping[str, Mapping[str, Any]]:
    """The mapping of all spliced fields; `located` events also get a `geo_point` made of `location.lat` and `.lng`."""
    return {**SUFFIX, POSITION: {"type": "geo_point", "index": False}} if located else SUFFIX


def index_of(prefix: str, day: int) -> str:
    """The index of the UTC day `day`, counted from 1970-01-01."""
    return f"{prefix}-{date.fromordinal(day + _EPOCH):%Y.%m.%d}"


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC).date().toordinal()


class Indices:
    """Creates what is missing; called from worker threads, blocks for a request."""

    def __init__(
        self,
        bulk: Bulk,
        prefix: str,
        contracts: ContractSet,
        retention: timedelta | None = None,
        new_days: int = 1_000_000,
    ) -> None:
        """`retention`: how long the cluster's own lifecycle management, if it has one, keeps a day after its end.

        `new_days`: how many indices may be created within an hour.
        """
        self._new_days = new_days
        self._created: deque[float] = deque()
        self._bulk = bulk
        self._prefix = prefix
        self._name = f"fleetgauge-{prefix}"
        self._retention = retention
        self._mappings = contracts.mapping(suffix_fields(bool(contracts.located)))
        self._fields = dict(_leaves("", self._mappings["properties"]))
        self._version = 1000 * sum(contracts.versions.values()) + len(self._fields)
        made_from = json.dumps([self.template({}), str(retention)], sort_keys=True)
        self._print = hashlib.sha256(made_from.encode()).hexdigest()
        self._known: set[str] = set()
        self._lock = threading.Lock()
        self._log = structlog.get_logger("fleetgauge.ingest").bind(index=prefix)

    def prepare(self) -> list[str]:
        """`install`, or, with a login that may not, see that somebody has. Raises `Transient`, `Stop`, `Terminal`."""
        try:
            return self.install()
        except Forbidden:
            if not self.installed():
                raise
            return self.newer()

    def install(self) -> list[str]:
        """Install the template unless a newer one is there, and add new fields to indices that exist.

        Returns what makes the installed one newer: it is left alone, or added to where ours has fields that it lacks,
        so that in whatever order consumers of several versions start, no new day lacks a field. Raises `Transient`,
        `Stop`, `Terminal`.
        """
        found = self._template()
        newer = self._newer_in(found)
        kept: Mapping[str, Any] = {}
        if newer:
            self._log.error(
                "the index template is of a newer version than this consumer and stays; deploy the newer one here too",
                newer=newer,
            )
        else:
            kept = lifecycle(self._bulk, self._prefix, self._retention)
        if not newer or self._fields.keys() - found.fields().keys():
            self._put(f"/_index_template/{self._name}", self._merged(found, kept))
        days = self._days()
        if days and kept:
            self._put(f"/{self._prefix}/_settings", kept)
        for index, missing in days.items():
            self._add(index, missing)
        return newer

    def installed(self) -> bool:
        """Whether `install` would change nothing; False too if the login may not look. Raises as `install` does.

        The template carries a print of what it was made from, since Elasticsearch gives it back in another spelling.
        """
        try:
            found = self._template()
            same = self._print == found.meta.get("fleetgauge") or bool(self._newer_in(found))
            return same and not self._fields.keys() - found.fields().keys() and not any(self._days().values())
        except Forbidden:
            return False

    def newer(self) -> list[str]:
        """What the installed template has that this content lacks: fields, or a higher version. Raises as `install`."""
        return self._newer_in(self._template())

    def lacking(self) -> list[str] | None:
        """Fields of this content that the installed template lacks; None without a template. Raises as `install`."""
        found = self._template()
        return sorted(self._fields.keys() - found.fields().keys()) if found.there else None

    def _newer_in(self, found: "_Template") -> list[str]:
        fields = sorted(found.fields().keys() - self._fields.keys()) if found.meta else []
        higher = (found.version or 0) > self._version
        return fields or ([f"version {found.version}, not {self._version}"] if higher else [])

    def _merged(self, found: "_Template", kept: Mapping[str, Any]) -> dict[str, Any]:
        """Ours, with what a newer one has besides."""
        more = {name: field for name, field in found.fields().items() if name not in self._fields} if found.meta else {}
        made = self.template(kept if not more else {**found.settings(), **kept})
        if more:
            made["template"]["mappings"] = {**self._mappings, "properties": _with(self._mappings["properties"], more)}
        version = max(self._version, found.version or 0) if more else self._version
        return {**made, "priority": 500, "version": version, "_meta": {"fleetgauge": self._print}}

    def _template(self) -> "_Template":
        path = f"/_index_template/{self._name}?filter_path=index_templates.index_template,error"
        answer = self._ask("GET", path, None, fine="resource_not_found_exception", shape=_Templates)
        return answer.index_templates[0].index_template if answer and answer.index_templates else _Template()

    def template(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The composable index template, with `settings` besides its own."""
        return {
            "index_patterns": [f"{self._prefix}-*"],
            "template": {
                "settings": {
                    "index.codec": "best_compression",
                    "index.number_of_shards": 1,
                    "index.auto_expand_replicas": "0-1",
                    "index.refresh_interval": "5s",
                    **settings,
                },
                "mappings": self._mappings,
                "aliases": {self._prefix: {}},
            },
        }

    def _days(self) -> dict[str, dict[str, Any]]:
        """The days that exist, and the fields that each lacks. What a field is stored as stays: it is for new days."""
        path = f"/{self._prefix}/_mapping"
        days = self._ask("GET", path, None, fine="index_not_found_exception", shape=dict[str, _Index])
        wanted, lacking = self._fields, {}
        for index, found in days.items():
            known = dict(_leaves("", found.mappings.properties))
            changed = [name for name, field in wanted.items() if known.get(name, field)["type"] != field["type"]]
            if changed:
                raise Terminal(
                    f"index {index} holds {', '.join(changed)} with another type than the contracts give; a field "
                    "cannot change its type: rename it, or delete the old indices"
                )
            lacking[index] = {name: wanted[name] for name in wanted.keys() - known.keys()}
        return lacking

    def ensure(self, names: Iterable[str]) -> None:
        """Create the named indices unless known to exist. Raises `Transient`, also where too many are new; `Stop`."""
        for name in names:
            if name in self._known:
                continue
            with self._lock:
                now = time.monotonic()
                while self._created and self._created[0] < now - _HOUR_S:
                    self._created.popleft()
                if len(self._created) >= self._new_days and not self._exists(name):
                    raise Transient(
                        f"{name} is not created now: {self._new_days} daily indices are new within the last hour "
                        "(new_days), which a wrong clock would do, or a long replay; it goes on when the hour is over, "
                        "or raise new_days of the consumer"
                    )
                if self._put(f"/{name}", None):
                    self._created.append(now)
                self._complete(name)
                self._known.add(name)

    def _exists(self, name: str) -> bool:
        return bool(self._ask("GET", f"/{name}/_alias", None, fine="index_not_found_exception"))

    def _complete(self, name: str) -> None:
        """Whoever made it, and whatever the template was then, it has our fields before our first document."""
        try:
            found = self._ask(
                "GET", f"/{name}/_mapping", None, fine="index_not_found_exception", shape=dict[str, _Index]
            )
            if name not in found:
                return
            known = dict(_leaves("", found[name].mappings.properties))
            missing = {field: self._fields[field] for field in sorted(self._fields.keys() - known.keys())}
            if missing:
                self._log.error(
                    "a day was made by an older index template; adding the fields that it lacks, and the template anew",
                    day=name,
                    fields=sorted(missing),
                )
                self._add(name, missing)
                self.install()
        except Forbidden as error:
            self._log.warning("a day cannot be compared with the contracts", day=name, because=str(error))

    def _add(self, index: str, fields: Mapping[str, Any]) -> None:
        if fields:
            self._put(f"/{index}/_mapping", {"properties": fields})  # a dotted name is a path here

    def forget(self, name: str) -> None:
        """The index has gone: create it again when it is next needed."""
        self._known.discard(name)

    def _put(self, path: str, body: Any) -> bool:
        """Whether it was not there."""
        return bool(self._ask("PUT", path, body, fine="resource_already_exists_exception"))

    def _ask(self, method: str, path: str, body: Any, fine: str, shape: Any = dict[str, Any]) -> Any:
        if_forbidden = (
            "run `fleetgauge indices` with a login that may manage index templates, and give this one the rights to "
            f"see that template, and to create and look at {self._prefix}-*"
        )
        return ask(self._bulk, method, path, body, if_forbidden, fine=(fine,), shape=shape)


class _Mappings(msgspec.Struct):
    properties: dict[str, Any] = {}


class _Index(msgspec.Struct):
    mappings: _Mappings


class _Inner(msgspec.Struct):
    mappings: _Mappings = msgspec.field(default_factory=_Mappings)
    settings: dict[str, Any] = {}


class _Template(msgspec.Struct, rename={"meta": "_meta"}):
    """An index template as it is installed; without a template, an empty one."""

    template: _Inner = msgspec.field(default_factory=_Inner)
    meta: dict[str, Any] = {}
    version: int | None = None
    index_patterns: list[str] = []

    @property
    def there(self) -> bool:
        return bool(self.index_patterns)

    def fields(self) -> dict[str, Mapping[str, Any]]:
        """By dotted name."""
        return dict(_leaves("", self.template.mappings.properties))

    def settings(self) -> dict[str, Any]:
        """What keeps the days of a newer consumer: ours would be an older retention."""
        index = self.template.settings.get("index", {})
        found = index.get("lifecycle") if isinstance(index, dict) else None
        return {f"index.lifecycle.{name}": value for name, value in found.items()} if isinstance(found, dict) else {}


class _Named(msgspec.Struct):
    index_template: _Template


class _Templates(msgspec.Struct):
    index_templates: list[_Named] = []


def _with(properties: Mapping[str, Any], more: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The mapping tree and more leaves, by dotted names."""
    tree: dict[str, Any] = json.loads(json.dumps(properties))
    for name, field in more.items():
        at, parts = tree, name.split(".")
        for part in parts[:-1]:
            at = at.setdefault(part, {}).setdefault("properties", {})
        at.setdefault(parts[-1], dict(field))
    return tree


def _leaves(at: str, properties: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, field in properties.items():
        if "type" in field:
            yield f"{at}{key}", field
        else:
            yield from _leaves(f"{at}{key}.", field.get("properties", {}))
