"""Whether what the rollup needs is there: servers, rights, heartbeat, indexes. Each fault has its remedy."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from fleetgauge import postgres
from fleetgauge.clock import SystemClock
from fleetgauge.errors import FleetgaugeError, Terminal
from fleetgauge.files.text import Unreadable, read
from fleetgauge.postgres import Connection, only_row
from fleetgauge.postgres.schema_revision import newest, problem
from fleetgauge.progress.heartbeat import of_snapshot, others
from fleetgauge.rollup import zone_rules
from fleetgauge.rollup.definitions.definition import COMMANDS, Definition
from fleetgauge.rollup.definitions.loader import folders
from fleetgauge.rollup.operating.attention import forgotten, status_of
from fleetgauge.rollup.operating.conditions import conditions
from fleetgauge.rollup.operating.doctor_heartbeat import heartbeat, skew
from fleetgauge.rollup.operating.findings import Finding, Question, Status, together
from fleetgauge.rollup.operating.restatements import recent
from fleetgauge.rollup.sources.elasticsearch_fields import read_by
from fleetgauge.rollup.sources.indexes import TimeColumn, time_columns, unserved
from fleetgauge.rollup.sources.port import ROLLUP
from fleetgauge.rollup.sources.stream import EventStream
from fleetgauge.rollup.store import viewers
from fleetgauge.rollup.store.state_reader import exists
from fleetgauge.rollup.store.tables import WRITER
from fleetgauge.rollup.store.unused import leftovers
from fleetgauge.settings import Settings, SourceSettings

_RIGHTS = """
SELECT r.rolsuper, ARRAY(
    SELECT c.oid::regclass::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND n.nspname NOT LIKE 'pg\\_%' AND has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
    ORDER BY 1)
FROM pg_roles AS r WHERE r.rolname = current_user
"""


_SOON = timedelta(days=365)
"""How far ahead rules of time zones are compared: what will differ should be told before it does."""
_AHEAD = """
SELECT metric, max(mark) FROM fleetgauge.ledger,
    unnest(ARRAY[upper(done), upper(closed), beat_at, cursor_at]) AS mark
WHERE isfinite(mark) AND mark > clock_timestamp() + %s GROUP BY metric ORDER BY metric
"""


def examine(
    settings: Settings, definitions: Mapping[str, Definition], streams: Mapping[str, EventStream]
) -> Iterator[Finding]:
    """Every check, all servers at the same time; what cannot be reached is a finding too. Blocks, changes nothing."""
    return together(questions(settings, definitions, streams))


def questions(
    settings: Settings, definitions: Mapping[str, Definition], streams: Mapping[str, EventStream]
) -> Iterator[Question]:
    """What `examine` looks at."""
    tolerance = timedelta(seconds=settings.clocks.tolerance_s)
    yield _question("metrics database", lambda: _metrics(settings, definitions))
    yield _question("numbers", lambda: _numbers(settings, definitions))
    for name, source in sorted(settings.sources.items()):
        mine = [one for one in definitions.values() if one.source == name]
        ask = _mysql_replica if source.url.mysql is not None else _replica
        yield _question(f"source {name}", partial(ask, name, source, mine, tolerance))
    for name in sorted({one.source for one in definitions.values()} - {COMMANDS, *settings.sources, *streams}):
        missing = Finding(f"source {name}", "fail", "is not configured", f"add [sources.{name}] with its url")
        yield Question(missing.about, partial(iter, [missing]))
    for name, stream in sorted(streams.items()):
        yield _question(f"consumer group of {name}", partial(_group, settings, stream))
        read = sorted({path for one in definitions.values() if one.source == name for path in read_by(one)})
        yield _question(f"documents of {name}", partial(documents, settings, stream.index, read))


def for_production(settings: Settings, definitions: Mapping[str, Definition]) -> str:
    """SQL for the production DBA: the files of `sql/source` but its indexes, then the indexes that are missing.

    Of a replica that does not answer, all that definitions ask for are listed. Content without such files has the
    indexes alone, and a line that says so. Raises `Terminal` for a file that cannot be read.
    """
    parts = []
    for folder in _scripts(settings):
        found = [_read(path) for path in sorted(folder.glob("*.sql")) if "index" not in path.name]
        parts += found or [f"-- {folder} holds no SQL for the reader's login and the heartbeat: see docs/rollup.md."]
    wanted: list[str] = []
    for name, source in sorted(settings.sources.items()):
        columns = _columns(one for one in definitions.values() if one.source == name)
        try:
            columns = _lacking(name, source, columns)
        except FleetgaugeError:
            if columns:
                wanted.append(f"-- source {name} did not answer, so that these may be there already:")
        wanted += [one.remedy for one in columns]
    heading = "-- Each on its own, outside a transaction; writers go on meanwhile."
    parts.append("\n".join([heading, *wanted]) if wanted else "-- No index is missing.")
    return "\n\n".join(parts) + "\n"


def _scripts(settings: Settings) -> list[Path]:
    """The folders for the kinds of databases that are sources."""
    folder = settings.content / "sql" / "source"
    mysql = [source.url.mysql is not None for source in settings.sources.values()]
    return [*([] if mysql and all(mysql) else [folder]), *([folder / "mariadb"] if any(mysql) else [])]


def _lacking(name: str, source: SourceSettings, columns: list[TimeColumn]) -> list[TimeColumn]:
    """Those that no index serves; all of them of a server that may not be asked."""
    if source.url.mysql is not None:
        from fleetgauge.rollup.operating.doctor_mysql import lacking_on_mysql

        return lacking_on_mysql(name, source, columns)
    with _opened(name, source) as connection:
        return unserved(connection, columns) if _standby(connection, source) else columns


def _mysql_replica(
    name: str, source: SourceSettings, definitions: Iterable[Definition], tolerance: timedelta
) -> Iterator[tuple[Status, str, str]]:
    try:
        from fleetgauge.rollup.operating.doctor_mysql import mysql_replica
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "pymysql":
            raise
        yield "fail", "is MariaDB or MySQL, whose driver is not installed", "pip install 'fleetgauge[mysql]'"
        return
    yield from mysql_replica(name, source, _columns(definitions), tolerance)


def _read(path: Path) -> str:
    try:
        return read(path).strip()
    except Unreadable as error:
        raise Terminal(f"{path}:{error.line}: {error}") from None


def _question(about: str, ask: Callable[[], Iterator[tuple[Status, str, str]]]) -> Question:
    return Question(about, lambda: (Finding(about, *found) for found in ask()))


def _metrics(settings: Settings, definitions: Mapping[str, Definition]) -> Iterator[tuple[Status, str, str]]:
    with postgres.metrics(settings.metrics).session("doctor") as connection:
        yield "ok", "answers", ""
        tolerance = timedelta(seconds=settings.clocks.tolerance_s)
        yield skew("its clock", _one(connection, "SELECT clock_timestamp()")[0] - SystemClock().now(), tolerance)
        row = _one(connection, "SELECT to_regclass('fleetgauge.alembic_version') IS NOT NULL")
        if not row[0]:
            yield "fail", "has no schema of ours", "run fleetgauge migrate"
            return
        row = _one(connection, "SELECT version_num FROM fleetgauge.alembic_version")
        wrong = problem(row[0])
        migrated = wrong is None
        if wrong is None:
            yield "ok", f"is migrated ({row[0]})", ""
        else:
            yield "fail", *wrong
        row = _one(
            connection,
            "SELECT pg_has_role(oid, %s, 'USAGE'), rolsuper FROM pg_roles WHERE rolname = current_user",
            [WRITER],
        )
        if not row[0]:
            yield "fail", f"its login is no member of {WRITER}", f"GRANT {WRITER} TO the login of metrics.url"
        elif row[1]:
            yield "warn", "its login is a superuser", "give metrics.url a login that is only a member of the writers"
        else:
            yield "ok", f"its login is a member of {WRITER}", ""
        for login, name in viewers.lacking(connection, WRITER):
            yield "warn", f"viewer {login} has no {name}", f"run fleetgauge migrate, or ALTER ROLE {login} SET {name}"
        known = {
            (metric, version)
            for metric, version in connection.execute("SELECT metric, version FROM fleetgauge.metric_version")
        }
        if lacking := [one.metric for one in definitions.values() if (one.metric, one.version) not in known]:
            yield "fail", f"has no tables for this version of {', '.join(lacking)}", "run fleetgauge migrate"
        elif migrated:
            yield from _views(settings, connection, definitions)
            for metric, n in sorted(recent(connection, definitions.values()).items()):
                said = f"{n} value(s) of metric {metric} that were final changed in the last day"
                yield "ok", said, f"fleetgauge restatements {metric}"
        yield from _zones(connection, sorted({one.time_zone for one in definitions.values()}))
        ahead = connection.execute(_AHEAD, [tolerance]).fetchall()
        for metric, mark in ahead:
            said = f"metric {metric} is called computed or final until {mark:%Y-%m-%dT%H:%MZ}, since a clock was wrong"
            yield "fail", said, "its next run takes that back; run fleetgauge reconcile if it stood for more than a day"


def _zones(connection: Connection[Any], zones: Sequence[str]) -> Iterator[tuple[Status, str, str]]:
    today = _one(connection, "SELECT clock_timestamp()")[0]
    for zone in zones:
        since = zone_rules.differing(connection, zone, today, ahead=_SOON)
        if since is not None:
            status: Status = "fail" if since < today + zone_rules.AHEAD else "warn"
            yield status, zone_rules.said(zone, since), zone_rules.REMEDY


def _views(
    settings: Settings, connection: Connection[Any], definitions: Mapping[str, Definition]
) -> Iterator[tuple[Status, str, str]]:
    for left in leftovers(connection, definitions, folders(settings.content)):
        if not left.metric:
            yield "warn", f"no definition makes view {left.name}", f"fleetgauge metrics drop {left.name}"
        elif not left.views:
            yield "warn", f"metric {left.name} left its tables behind", f"fleetgauge metrics drop {left.name}"


def _numbers(settings: Settings, definitions: Mapping[str, Definition]) -> Iterator[tuple[Status, str, str]]:
    """What is wrong, late, withheld or not shown of the metrics that have tables."""
    with postgres.metrics(settings.metrics).session("doctor") as connection:
        if not exists(connection, "fleetgauge.alembic_version"):
            return
        if _one(connection, "SELECT version_num FROM fleetgauge.alembic_version")[0] != newest():
            return
        found = [status_of(connection, definition) for definition in definitions.values()]
        found += [status for _, status in forgotten(connection, definitions, folders(settings.content))]
    told = [one for status in found for one in conditions(status)]
    for one in told:
        kind: Status = "fail" if one.condition.verdict == "error" else "warn"
        yield kind, f"metric {one.metric}: {one.said}", one.condition.remedy
    if not told:
        yield "ok", "none is withheld, and no run fails", ""


def _replica(
    name: str, source: SourceSettings, definitions: Iterable[Definition], tolerance: timedelta
) -> Iterator[tuple[Status, str, str]]:
    with _opened(name, source) as connection:
        if not _standby(connection, source):
            yield "fail", "is a primary, so nothing more is asked of it", f"point sources.{name}.url at a standby"
            return
        if _one(connection, "SELECT pg_is_in_recovery()")[0]:
            yield "ok", "is a standby", ""
        else:
            yield "warn", "is a primary, and allow_primary is set", "runs burden production: name a standby"
        yield from _heartbeat(connection, name, source, tolerance)
        yield from _conflicts(connection, source)
        yield from _rights(connection)
        lacking = unserved(connection, _columns(definitions))
        for one in lacking:
            yield "warn", f"no index begins with {one.table}.{one.column}", f"on the primary: {one.remedy}"
        if not lacking:
            yield "ok", "has an index for every time that is looked up", ""


def _heartbeat(
    connection: Connection[Any], name: str, source: SourceSettings, tolerance: timedelta
) -> Iterator[tuple[Status, str, str]]:
    source_watermark = of_snapshot(connection, name, source.max_transaction_age_s)
    if source_watermark is not None and (more := others(connection)):
        said = f"its heartbeat's table has {more} row(s) beside that with id 1, which nobody reads"
        yield "warn", said, "delete them, and see what writes them: production's job writes id 1 alone (sql/source)"
    yield from heartbeat(
        source_watermark,
        tolerance,
        scripts="sql/source",
        open_ones="pg_stat_activity and pg_prepared_xacts",
        declared=source.max_transaction_age_s is not None,
    )


def _conflicts(connection: Connection[Any], source: SourceSettings) -> Iterator[tuple[Status, str, str]]:
    values = dict(
        connection.execute(
            "SELECT name, setting FROM pg_settings"
            " WHERE name IN ('hot_standby_feedback', 'max_standby_streaming_delay')"
        ).fetchall()
    )
    if values["hot_standby_feedback"] == "on":
        said = "hot_standby_feedback is on: long reads here keep vacuum off the primary's rows"
        yield "warn", said, "switch it off; runs try again after a conflict"
    delay_s = int(values["max_standby_streaming_delay"]) / 1000
    if delay_s < 0:
        yield "warn", "max_standby_streaming_delay is -1: a long read stops replication", "set it to 30s"
    elif source.statement_timeout_s >= delay_s:
        said = f"statement_timeout_s {source.statement_timeout_s:.0f} is not below its delay of {delay_s:.0f} s"
        yield "warn", said, "lower statement_timeout_s of the source, or raise max_standby_streaming_delay"
    else:
        yield "ok", f"statement_timeout_s is below max_standby_streaming_delay ({delay_s:.0f} s)", ""


def _rights(connection: Connection[Any]) -> Iterator[tuple[Status, str, str]]:
    superuser, writable = _one(connection, _RIGHTS)
    if superuser:
        yield "fail", "its login is a superuser", "use one that may only read what it needs (sql/source/01_reader.sql)"
    elif writable:
        some = ", ".join(writable[:3]) + (" …" if len(writable) > 3 else "")
        yield "fail", f"its login may write {len(writable)} table(s): {some}", "REVOKE that on the primary"
    else:
        yield "ok", "its login may write no table", ""


def _group(settings: Settings, stream: EventStream) -> Iterator[tuple[Status, str, str]]:
    from fleetgauge.progress import topic_times
    from fleetgauge.progress.offsets import read_progress

    progress = read_progress(settings.kafka, stream.topic, stream.group, SystemClock(), timeout_s=8, patient=False)
    if not progress.committed:
        yield "warn", f"{stream.group} has never committed, so nothing counts as stored", "start its consumer"
        return
    behind = max(timedelta(), SystemClock().now() - progress.watermark)
    status: Status = "ok" if behind < timedelta(minutes=5) else "warn"
    said = f"{stream.group} is {progress.lag} records behind, {behind.total_seconds():.0f} s"
    yield status, said, "see fleetgauge top"
    if problem := topic_times.warning(settings.kafka, stream.topic):
        yield "warn", problem, ""
    for partition, count in progress.missed.items():
        said = f"{count} record(s) of partition {partition} were deleted before they were read"
        yield "warn", f"{said}: they are in no number", "lengthen the topic's retention.ms"
    for part in progress.partitions:
        if part.unstable:
            said = f"partition {part.partition} of {stream.topic}: a transaction is open at offset {part.end}"
            yield "warn", said, "nothing from its first record on is final; kafka-transactions.sh find-hanging names it"


def documents(settings: Settings, index: str, fields: Sequence[str] = ()) -> Iterator[tuple[Status, str, str]]:
    """Whether the documents behind an alias over daily indices can be read: status, what is so, what to do. Blocks.

    `fields` are those that metrics read, which every day should map.
    """
    from fleetgauge.elasticsearch.client import NotFoundError, closed_days, connect, lacking_fields
    from fleetgauge.elasticsearch.elasticsearch_errors import kind_of, translated
    from fleetgauge.elasticsearch.point_in_time import refresh

    what = f"{index} cannot be refreshed and read at {settings.elasticsearch.url}"
    with closing(connect(settings.elasticsearch)) as client:
        try:
            with translated(what, "grant the login read, maintenance and view_index_metadata"):
                try:
                    closed = closed_days(client, index)
                    refresh(client, index, ignore_unavailable=bool(closed))
                    lacking = lacking_fields(client, index, fields) if fields else {}
                except NotFoundError as error:
                    if kind_of(error) != "index_not_found_exception":
                        raise
                    yield "ok", f"{index} does not exist yet", ""
                    return
        except FleetgaugeError as error:
            said, _, remedy = str(error).rpartition("; ")
            yield "fail", said, remedy
            return
        for day in closed:
            said = f"{day} is closed: what it holds is not read, and windows of its day are not computed"
            yield "fail", said, f"open it (POST /{day}/_open); the next run computes what is new in it"
        for day, without in lacking.items():
            said = f"{day} does not map {', '.join(without)}: its documents count as if they had no such value"
            yield "warn", said, f"run fleetgauge indices, then POST /{day}/_update_by_query, and backfill its day"
        if not closed:
            yield "ok", f"{index} can be refreshed and read", ""


def _columns(definitions: Iterable[Definition]) -> list[TimeColumn]:
    return list(dict.fromkeys(column for one in definitions for column in time_columns(one)))


@contextmanager
def _opened(name: str, source: SourceSettings) -> Iterator[Connection[Any]]:
    with postgres.source(name, source).session(f"{ROLLUP}-doctor", default_transaction_read_only="on") as connection:
        yield connection


def _standby(connection: Connection[Any], source: SourceSettings) -> bool:
    """Whether it may be asked anything: the first question to each."""
    return source.allow_primary or bool(_one(connection, "SELECT pg_is_in_recovery()")[0])


def _one(connection: Connection[Any], query: str, values: list[object] | None = None) -> tuple[Any, ...]:
    return only_row(connection.execute(query, values))
