"""Whether a source that is MariaDB or MySQL has what the rollup needs: replication, heartbeat, rights, indexes."""

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta

from fleetgauge.mysql import MysqlSession, mysql_source
from fleetgauge.mysql.replica_guard import Replication, replication
from fleetgauge.progress.mysql_heartbeat import of_mysql_snapshot
from fleetgauge.rollup.operating.doctor_heartbeat import heartbeat
from fleetgauge.rollup.operating.findings import Status
from fleetgauge.rollup.sources.indexes import TimeColumn
from fleetgauge.rollup.sources.mysql_plans import unserved_by_mysql
from fleetgauge.settings import SourceSettings

_SCRIPTS = "sql/source/mariadb"
_HARMLESS = {
    *("USAGE", "SELECT", "SHOW VIEW", "PROCESS", "REPLICATION CLIENT", "REPLICA MONITOR", "SLAVE MONITOR"),
    *("BINLOG MONITOR", "SHOW DATABASES"),
}
"""Rights that change nothing."""
_GRANT = re.compile(r"GRANT (?P<rights>.+?) ON (?P<on>\S+) TO ")

Said = Iterator[tuple[Status, str, str]]


def mysql_replica(name: str, source: SourceSettings, columns: Sequence[TimeColumn], tolerance: timedelta) -> Said:
    """Status, what is so, what to do. `columns`: by which metrics look rows up. Blocks."""
    with mysql_source(name, source).opened(source.statement_timeout_s) as session:
        known = replication(session)
        why = known.is_no_replica
        if why is not None and not source.allow_primary:
            yield "fail", f"{why}; nothing more is asked of it", f"point sources.{name}.url at a replica"
            return
        if why is None:
            yield "ok", "is a replica", ""
        else:
            yield "warn", f"{why}, and allow_primary is set", "runs burden production: name a replica"
        yield from _applies(known)
        with session.snapshot():
            mark = of_mysql_snapshot(session, name)
        open_ones = "information_schema.innodb_trx and processlist"
        yield from heartbeat(mark, tolerance, scripts=_SCRIPTS, open_ones=open_ones)
        yield from _rights(session)
        lacking = unserved_by_mysql(session, list(columns))
        for one in lacking:
            yield "warn", f"no index begins with {one.table}.{one.column}", f"on the primary: {one.remedy}"
        if not lacking:
            yield "ok", "has an index for every time that is looked up", ""


def lacking_on_mysql(name: str, source: SourceSettings, columns: list[TimeColumn]) -> list[TimeColumn]:
    """Those that no index serves; all of them of a server that is no replica."""
    with mysql_source(name, source).opened(source.statement_timeout_s) as session:
        may = source.allow_primary or replication(session).is_no_replica is None
        return unserved_by_mysql(session, columns) if may else columns


def _applies(known: Replication) -> Said:
    """Whether replication goes on. Its messages are left out: they name the primary."""
    for channel in known.channels:
        # Servers of different ages say slave or replica.
        told = {key.replace("Replica_", "Slave_").replace("Source", "Master"): value for key, value in channel.items()}
        stopped = [part for part in ("IO", "SQL") if told.get(f"Slave_{part}_Running") != "Yes"]
        if stopped:
            numbers = ", ".join(str(told.get(f"Last_{part}_Errno")) for part in stopped)
            said = f"its replication stands still ({' and '.join(stopped)} thread; error {numbers})"
            yield "warn", said, "see SHOW REPLICA STATUS there; runs wait for it"
            continue
        behind = told.get("Seconds_Behind_Master")
        delay = int(told.get("SQL_Delay") or 0)
        yield "ok", f"its replication runs, by its own account {behind} s behind", ""
        if delay:
            yield "warn", f"it is told to stay {delay} s behind (MASTER_DELAY)", "numbers are final so much later"


def _rights(session: MysqlSession) -> Said:
    strong: list[str] = []
    for (text,) in session.rows("SHOW GRANTS"):
        match = _GRANT.match(text)
        if match is None:  # a role, whose own rights follow
            continue
        rights = {re.sub(r"\s*\(.*?\)", "", one).strip().upper() for one in re.split(r",(?![^(]*\))", match["rights"])}
        if rights - _HARMLESS:
            strong.append(f"{', '.join(sorted(rights - _HARMLESS))} on {match['on']}")
    if strong:
        some = "; ".join(strong[:3]) + (" …" if len(strong) > 3 else "")
        yield (
            "fail",
            f"its login may do more than read: {some}",
            f"REVOKE that on the primary ({_SCRIPTS}/01_reader.sql)",
        )
    else:
        yield "ok", "its login may only read", ""
