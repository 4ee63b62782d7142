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

from fleetgauge.contracts import ContractSet
from fleetgauge.elasticsearch.admin_requests import ask
from fleetgauge.elasticsearch.elasticsearch_errors import Forbidden
from fleetgauge.elasticsearch.transport import Bulk
from fleetgauge.errors import Terminal, Transient
from fleetgauge.ingest.indices.lifecycle import lifecycle

POSITION = "geo.location"
SUFFIX: Mapping[str, Mapping[str, Any]] = {
    "@timestamp": {"type": "date", "format": "epoch_millis"},
    "event.ingested": {"type": "date", "format": "epoch_millis", "index": False},
    "kafka.partition": {"type": "integer", "index": False},
    "kafka.offset": {"type": "long"},
}
"""What is spliced to every document: field → mapping. A payload may not hold these."""
DAY_MS = 86_400_000
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
        made_from = json.dumps([self.template({}), str(retention)], sort_keys=True)
        self._print = hashlib.sha256(made_from.encode()).hexdigest()
        self._known: set[str] = set()
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """`install`, or, with a login that may not, see that somebody has. Raises `Transient`, `Stop`, `Terminal`."""
        try:
            self.install()
        except Forbidden:
            if not self.installed():
                raise

    def install(self) -> None:
        """Install the template, and add new fields to indices that exist. Raises `Transient`, `Stop`, `Terminal`."""
        kept = lifecycle(self._bulk, self._prefix, self._retention)
        template = {**self.template(kept), "priority": 500, "_meta": {"fleetgauge": self._print}}
        self._put(f"/_index_template/{self._name}", template)
        days = self._days()
        if days and kept:
            self._put(f"/{self._prefix}/_settings", kept)
        for index, missing in days.items():
            if missing:
                self._put(f"/{index}/_mapping", {"properties": missing})  # a dotted name is a path here

    def installed(self) -> bool:
        """Whether `install` would change nothing; False too if the login may not look. Raises as `install` does.

        The template carries a print of what it was made from, since Elasticsearch gives it back in another spelling.
        """
        path = f"/_index_template/{self._name}?filter_path=index_templates.index_template._meta,error"
        try:
            template = self._ask("GET", path, None, fine="resource_not_found_exception")
            return self._print in str(template) and not any(self._days().values())
        except Forbidden:
            return False

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
        days = self._ask("GET", f"/{self._prefix}/_mapping", None, fine="index_not_found_exception")
        wanted, lacking = dict(_leaves("", self._mappings["properties"])), {}
        for index, found in days.items():
            known = dict(_leaves("", found["mappings"].get("properties", {})))
            changed = [name for name, field in wanted.items() if known.get(name, field)["type"] != field["type"]]
            if changed:
                raise Terminal(
                    f"index {index} holds {', '.join(changed)} with another type than the contracts give; a field "
                    "cannot change its type in place: rename it, or delete the old indices"
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
                self._known.add(name)

    def _exists(self, name: str) -> bool:
        return bool(self._ask("GET", f"/{name}/_alias", None, fine="index_not_found_exception"))

    def forget(self, name: str) -> None:
        """The index has gone: create it again when it is next needed."""
        self._known.discard(name)

    def _put(self, path: str, body: Any) -> bool:
        """Whether it was not there."""
        return bool(self._ask("PUT", path, body, fine="resource_already_exists_exception"))

    def _ask(self, method: str, path: str, body: Any, fine: str) -> Any:
        if_forbidden = (
            "run `fleetgauge indices` with a login that may manage index templates, and give this one the rights to "
            f"see that template, and to create and look at {self._prefix}-*"
        )
        return ask(self._bulk, method, path, body, if_forbidden, fine=(fine,))


def _leaves(at: str, properties: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, field in properties.items():
        if "type" in field:
            yield f"{at}{key}", field
        else:
            yield from _leaves(f"{at}{key}.", field.get("properties", {}))
