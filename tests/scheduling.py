"""Which test process runs which file, so that none waits for another's servers.

Each process starts the servers that its files ask for, which all of them share. Kafka and Elasticsearch take longer to
start than most files take to run, so the files that need them run in one process, with four or more in two, as what
they mostly do is wait. Postgres takes two seconds. The last process begins with the files whose tests start servers of
their own. What needs no server at all comes last, and fills the time in which others still run. Files that share a
filled database run in one process, one after the other, since to fill it takes half a minute. Within each part the
longest come first, so that all processes end at about the same time.
"""

from collections.abc import Sequence
from typing import Any

from xdist.scheduler import LoadFileScheduling

SERVERLESS = ("tests/component/", "tests/unit/test_", "tests/unit/")
"""They need no server at all; the longest of the units are those that read all files of the project."""
ALONE = (
    "tests/integration/demo/",
    "tests/integration/dags/",
    "tests/integration/stack/test_stack_lifecycle.py",
    "tests/integration/ingest/test_ingest_secured.py",
    "tests/integration/rollup/sources/test_rollup_standby.py",
    *SERVERLESS,
)
"""They need none of the servers of the run; in the order in which they are begun."""
FILLED = (
    "tests/integration/dashboards/",
    "tests/integration/analytics/",
    "tests/integration/demo/test_demo_company.py",
)
"""They share the database of the fixture `filled`; the first names them all."""
STREAMED = (
    "tests/integration/ingest/",
    "tests/integration/kafka/",
    "tests/integration/hostile/test_wild",
    "tests/integration/hostile/test_dead_letter_limits.py",
    "tests/integration/hostile/test_lost_days.py",
    "tests/integration/hostile/test_closed_indices.py",
    "tests/integration/hostile/test_foreign_indices.py",
    "tests/integration/hostile/test_missed_records.py",
    "tests/integration/hostile/test_repeated_events.py",
    "tests/integration/commands/test_command_materialise.py",
    "tests/integration/commands/test_command_rewound.py",
    "tests/integration/rollup/sources/test_rollup_elasticsearch.py",
    "tests/integration/rollup/metric_tests/",
    "tests/integration/analytics/test_raw_exports.py",
    "tests/integration/erasure/",
    "tests/integration/fleet/",
    "tests/integration/simulator/",
    "tests/integration/stack/test_stack_servers.py",
)
"""They need Kafka or Elasticsearch; a test of the stack knows who does."""
FEW = 6
"""So many of them are not worth a second start of those servers."""
LONG = (
    "tests/integration/ingest/test_ingest_ledger.py",
    FILLED[0],
    "tests/integration/rollup/test_rollup_law.py",
    "tests/integration/ingest/",
    "tests/integration/hostile/test_wild",
    "tests/integration/hostile/test_secrets.py",
    "tests/integration/commands/",
    "tests/integration/rollup/sources/",
    "tests/integration/hostile/",
    "tests/integration/rollup/",
)
"""Those that share a stack, the longest first; the account at the end of a run tells. All others follow."""


def unit(file: str) -> str:
    """What one process runs as a whole: a file, or those that share more than servers."""
    return FILLED[0] if file.startswith(FILLED) and not file.startswith(STREAMED) else file


def rank(file: str, order: Sequence[str]) -> int:
    """The place of a file among beginnings of names; beyond all of them if none fits."""
    return next((place for place, beginning in enumerate(order) if file.startswith(beginning)), len(order))


def is_alone(file: str) -> bool:
    """Whether its tests need none of the servers that the files of a process share."""
    return file.startswith(ALONE)


def is_streamed(file: str) -> bool:
    """Whether its tests need Kafka or Elasticsearch of the servers that the files of a process share."""
    return file.startswith(STREAMED) and not is_alone(file)


def chosen(waiting: Sequence[str], *, worker: int, workers: int) -> str | None:
    """The file that a worker, counted from 0, begins next; None ends the worker."""
    shared = sorted((file for file in waiting if not is_alone(file)), key=lambda file: rank(file, LONG))
    alone = sorted((file for file in waiting if is_alone(file)), key=lambda file: rank(file, ALONE))
    streamed = [file for file in shared if is_streamed(file)]
    plain = [file for file in shared if not is_streamed(file)]
    if worker < (2 if workers > 3 else 1) or worker >= workers:  # xdist numbers whoever stands in for one that died
        order = [*streamed, *plain, *alone]
    elif workers > 2 and worker == workers - 1:
        order = sorted([*alone, *plain], key=lambda file: (file.startswith(SERVERLESS), not is_alone(file)))
    else:
        order = [*plain, *alone, *(streamed if workers < 4 and len(streamed) > FEW else ())]
    return next(iter(order), None)


class Scheduling(LoadFileScheduling):
    """One file, or what `unit` says, to one worker at a time, as `chosen`."""

    def _split_scope(self, nodeid: str) -> str:
        return unit(super()._split_scope(nodeid))

    def _assign_work_unit(self, node: Any) -> None:
        worker = int(node.gateway.id.removeprefix("gw"))
        file = chosen(list(self.workqueue), worker=worker, workers=self.numnodes)
        if file is None:
            node.shutdown()
            return
        self.workqueue.move_to_end(file, last=False)
        super()._assign_work_unit(node)
