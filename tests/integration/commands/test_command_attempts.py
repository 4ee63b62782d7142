"""The laws of materialising on a real Postgres: any order, duplication, batching and crash gives the same table."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from command_world import (
    COLUMNS,
    SOURCE,
    START_MS,
    STEPS,
    ListedDocuments,
    document,
    expected_rows,
    instant,
    progress_of,
)
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fleetgauge.commands import rebuild
from fleetgauge.commands.materialise import materialise_documents
from fleetgauge.commands.status import command_status
from fleetgauge.commands.store import AttemptStore, open_store
from fleetgauge.errors import Terminal, Transient
from fleetgauge.postgres import Database

LATER = instant(START_MS) + timedelta(days=1)
SLOW = settings(
    deadline=None,
    max_examples=40,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking on a real server takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

offsets_ms = st.sampled_from([0, 1, 400, 29_999, 30_000, 30_001, 45_000])
clocks = st.none() | offsets_ms.map(lambda ms: instant(START_MS + ms))


@SLOW
@given(
    st.lists(
        st.tuples(clocks, clocks, clocks, st.sampled_from(["succeeded", "failed", "rejected"]), offsets_ms, offsets_ms),
        min_size=1,
        max_size=200,
    )
)
def test_the_status_in_sql_is_its_twin_in_python(connection, rows):
    cases = [
        (sent, acked, answered, result if answered else None, instant(START_MS + deadline), instant(START_MS + as_of))
        for sent, acked, answered, result, deadline, as_of in rows
    ]
    found = connection.execute(
        """
        SELECT fleetgauge.command_status(sent, acked, answered, result, deadline, as_of)
        FROM unnest(
            %s::timestamptz[], %s::timestamptz[], %s::timestamptz[], %s::text[], %s::timestamptz[], %s::timestamptz[]
        ) WITH ORDINALITY AS t(sent, acked, answered, result, deadline, as_of, n) ORDER BY n
        """,
        [list(column) for column in zip(*cases, strict=True)],
    ).fetchall()
    assert [status for (status,) in found] == [command_status(*case) for case in cases]


@st.composite
def events(draw: st.DrawFn):
    """One event of a small world, where anything may disagree with anything."""
    return document(
        draw(st.sampled_from(STEPS)),
        START_MS + draw(offsets_ms),
        command_id=draw(st.sampled_from(["c-1", "c-1", "c-1", "c-2"])),
        attempt=draw(st.sampled_from([1, 1, 1, 2, 3])),
        deadline_ms=START_MS + draw(st.sampled_from([30_000, 30_000, 30_000, 1])),
        firmware=draw(st.sampled_from(["2.4.1", "2.4.1", "3.0.0", "Ä"])),
        carrier=draw(st.sampled_from(["skt", "skt", "kt"])),
        size=draw(st.sampled_from([96, 96, 64])),
        result=draw(st.sampled_from(["succeeded", "failed", "rejected"])),
        error_code=draw(st.sampled_from([None, "E_1"])),
    )


@pytest.mark.parametrize("examples", [15, pytest.param(400, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
def test_any_order_duplication_and_batching_gives_the_same_table(materialise_listed, connection, empty, examples):
    @settings(SLOW, max_examples=examples)
    @given(st.just([]) | st.lists(events(), min_size=8, max_size=24), st.data())
    def law(documents, data):
        empty()
        repeated = documents + data.draw(st.lists(st.sampled_from(documents), max_size=8) if documents else st.just([]))
        shuffled = data.draw(st.permutations(repeated))
        partitions: dict[int, list] = {0: [], 1: []}
        for one in shuffled:
            partitions[data.draw(st.integers(0, 1))].append(one)
        page = data.draw(st.integers(1, 7))
        rises = sorted(data.draw(st.lists(offsets_ms, max_size=3)))
        for rise in rises:  # several runs, each over a part of what is there, with a rising watermark
            committed = {p: data.draw(st.integers(0, len(listed))) for p, listed in partitions.items()}
            materialise_listed(
                ListedDocuments(partitions, page=page),
                progress_of(partitions, instant(START_MS + rise), committed=committed),
            )
        materialise_listed(ListedDocuments(partitions, page=page), progress_of(partitions, LATER))
        found = connection.execute(f"SELECT {COLUMNS} FROM fleetgauge.command_attempt").fetchall()
        assert len(found) == len(set(found))
        assert set(found) == expected_rows(documents, LATER)

    law()


def lifecycle(command_id="c-1", attempt=1, **changes):
    return [
        document(step, START_MS + ms, command_id=command_id, attempt=attempt, **changes)
        for step, ms in zip(STEPS, (0, 50, 400, 900), strict=True)
    ]


def test_a_batch_that_tells_nothing_new_leaves_the_change_time_alone(materialise_listed, attempts, connection):
    documents = {0: lifecycle()}
    assert materialise_listed(ListedDocuments(documents), progress_of(documents, LATER)).attempts == 2  # two pages of 3
    before = attempts("updated_at")
    rebuild.request(connection)
    again = materialise_listed(ListedDocuments(documents), progress_of(documents, LATER))
    assert (again.events, again.attempts, again.restarted) == (4, 0, True)
    assert attempts("updated_at") == before


def test_the_change_time_is_not_before_the_transaction(materialise_listed, attempts, connection):
    (before,) = connection.execute("SELECT clock_timestamp()").fetchone()
    documents = {0: lifecycle()}
    materialise_listed(ListedDocuments(documents), progress_of(documents, LATER))
    (after,) = connection.execute("SELECT clock_timestamp()").fetchone()
    ((updated,),) = attempts("updated_at")
    assert before <= updated <= after


def test_a_new_attempt_takes_over_as_the_last_and_touches_the_one_before(materialise_listed, attempts):
    first = [document("requested", START_MS), document("sent", START_MS + 50)]
    second = lifecycle(attempt=2, deadline_ms=START_MS + 90_000)
    documents = {0: first}
    watermark = instant(START_MS + 31_000)
    materialise_listed(ListedDocuments(documents), progress_of(documents, watermark))
    ((attempt, status, is_last, touched),) = attempts("attempt, status, is_last, updated_at")
    assert (attempt, status, is_last) == (1, "timed_out", True)
    documents = {0: first + second}
    materialise_listed(ListedDocuments(documents), progress_of(documents, watermark))
    one, two = attempts("attempt, status, is_last, updated_at")
    assert one[:3] == (1, "timed_out", False) and one[3] > touched
    assert two[:3] == (2, "succeeded", True)


def test_an_older_attempt_that_comes_late_is_not_the_last(materialise_listed, attempts):
    documents = {0: lifecycle(attempt=2), 1: lifecycle(attempt=1)}
    materialise_listed(ListedDocuments(documents), progress_of(documents, LATER))
    assert attempts("attempt, is_last") == [(1, False), (2, True)]


def test_a_passing_deadline_closes_and_touches_without_any_event(materialise_listed, attempts):
    documents = {0: [document("requested", START_MS), document("sent", START_MS + 50)]}
    documents[0].append(document("requested", START_MS, command_id="c-2"))
    at_deadline = instant(START_MS + 30_000)
    report = materialise_listed(ListedDocuments(documents), progress_of(documents, at_deadline))
    assert report.overdue == 0
    before = attempts("status, updated_at")
    assert [status for status, _ in before] == ["sent", "queued"]
    report = materialise_listed(
        ListedDocuments(documents), progress_of(documents, at_deadline + timedelta(milliseconds=1))
    )
    assert (report.events, report.overdue) == (0, 2)
    after = attempts("status, updated_at")
    assert [status for status, _ in after] == ["timed_out", "expired"]
    assert all(now > then for (_, then), (_, now) in zip(before, after, strict=True))


def test_a_deadline_passes_when_the_servers_events_have_had_time_to_come(materialise_listed, attempts):
    documents = {0: [document("requested", START_MS), document("sent", START_MS + 50)]}
    settle, deadline = timedelta(seconds=5), instant(START_MS + 30_000)
    materialise_listed(ListedDocuments(documents), progress_of(documents, deadline + settle), settle)
    assert attempts("status") == [("sent",)]
    materialise_listed(ListedDocuments(documents), progress_of(documents, deadline + settle * 1.001), settle)
    assert attempts("status") == [("timed_out",)]


def test_deadlines_are_judged_against_the_watermark_not_the_wall_clock(materialise_listed, attempts):
    documents = {0: [document("requested", START_MS), document("sent", START_MS + 50)]}  # deadline a year ago by now
    materialise_listed(ListedDocuments(documents), progress_of(documents, instant(START_MS + 10_000)))
    assert datetime.now(UTC) > instant(START_MS + 30_000)
    assert attempts("status") == [("sent",)]


def test_no_time_out_is_seen_between_the_batches_of_one_run(metrics, attempts, monkeypatch):
    """The answer lies in a later batch than the rest: whoever looks in between must not find a time-out."""
    documents = ListedDocuments({0: lifecycle()[:3], 1: lifecycle()[3:]})
    seen = []

    merge = AttemptStore.merge

    def looking(self, facts, cursor):
        merged = merge(self, facts, cursor)
        seen.extend(status for (status,) in attempts("status"))
        return merged

    monkeypatch.setattr(AttemptStore, "merge", looking)
    with open_store(metrics, SOURCE) as store:
        materialise_documents(store, documents, progress_of(documents.partitions, LATER), SOURCE)
    assert seen == ["delivered", "succeeded"]


def test_a_watermark_that_falls_back_reopens_nothing(materialise_listed, attempts):
    documents = {0: [document("requested", START_MS)]}
    materialise_listed(ListedDocuments(documents), progress_of(documents, LATER))
    documents[0].append(document("sent", START_MS + 29_000))
    report = materialise_listed(ListedDocuments(documents), progress_of(documents, instant(START_MS)))
    assert report.watermark == instant(START_MS)  # told as it is
    assert attempts("status") == [("timed_out",)]  # judged as of the highest


def test_disagreeing_events_are_counted_and_the_earliest_wins(materialise_listed, attempts):
    documents = {
        0: [
            document("sent", START_MS + 60, size=70),
            document("sent", START_MS + 50, size=90),
            document("responded", START_MS + 900, result="failed", error_code="E_1"),
            document("responded", START_MS + 800, result="succeeded"),
            document("sent", START_MS + 50, command_id="c-2", firmware="2.4.1"),
            document("responded", START_MS + 800, command_id="c-2", firmware="3.0.0"),  # an update: no conflict
        ]
    }
    report = materialise_listed(ListedDocuments(documents, page=10), progress_of(documents, LATER))
    assert report.conflicts == 1
    assert attempts("sent_bytes, result, firmware") == [(90, "succeeded", "2.4.1"), (96, "succeeded", "2.4.1")]


def test_an_unusable_document_is_counted_and_holds_nothing_up(materialise_listed, attempts):
    documents = {0: [*lifecycle()[:2], {"event": {"action": "sent"}}, None, *lifecycle()[2:]]}
    report = materialise_listed(ListedDocuments(documents), progress_of(documents, LATER))
    assert (report.events, report.unusable) == (6, 2)
    assert attempts("status") == [("succeeded",)]


def test_late_answers_are_counted(materialise_listed, attempts):
    documents = {0: [document("sent", START_MS), document("responded", START_MS + 30_001)]}
    report = materialise_listed(ListedDocuments(documents), progress_of(documents, LATER))
    assert report.late == 1
    assert attempts("status, late_success") == [("timed_out", True)]


def test_only_what_is_committed_is_materialised(materialise_listed, attempts):
    documents = {0: lifecycle(), 1: lifecycle("c-2")}
    report = materialise_listed(ListedDocuments(documents), progress_of(documents, instant(START_MS), committed={0: 2}))
    assert report.events == 2
    assert attempts("command_id, status") == [("c-1", "sent")]


class CrashError(Exception):
    """The process ends here."""


class CrashingConnection(psycopg.Connection):
    """Ends before statement number `crash_at`, counting from the first after connecting."""

    crash_at: int | None = None
    statements = 0

    def _count(self) -> None:
        type(self).statements += 1
        if self.statements == self.crash_at:
            raise CrashError

    def execute(self, *args, **kwargs):
        self._count()
        return super().execute(*args, **kwargs)

    def cursor(self, *args, **kwargs):
        self._count()
        return super().cursor(*args, **kwargs)


def crash_world():
    documents = {
        0: [*lifecycle(), document("sent", START_MS + 50, command_id="c-2")],
        1: [*lifecycle("c-3"), *lifecycle("c-2", attempt=2)[1:], document("requested", START_MS, command_id="c-4")],
    }
    everything = [one for listed in documents.values() for one in listed]
    return ListedDocuments(documents, page=5), progress_of(documents, LATER), expected_rows(everything, LATER)


def test_a_crash_between_any_two_statements_loses_and_doubles_nothing(metrics, connection, empty, monkeypatch):
    documents, progress, expected = crash_world()
    monkeypatch.setattr(
        Database, "connect", lambda self, part, **options: self.connect_as(CrashingConnection, part, **options)
    )
    crashes = 0
    while True:
        empty()
        CrashingConnection.crash_at, CrashingConnection.statements = crashes + 1, 0
        try:
            with open_store(metrics, SOURCE) as store:
                materialise_documents(store, documents, progress, SOURCE)
        except CrashError:
            crashes += 1
            CrashingConnection.crash_at = None
            with open_store(metrics, SOURCE) as store:
                materialise_documents(store, documents, progress, SOURCE)
        else:
            break
        found = set(connection.execute(f"SELECT {COLUMNS} FROM fleetgauge.command_attempt").fetchall())
        assert found == expected, f"after a crash before statement {crashes}"
    assert crashes > 15  # else the statements were not counted


def test_a_run_goes_on_at_the_page_that_failed(materialise_listed, connection, empty):
    documents, progress, expected = crash_world()
    documents.failure, documents.fail_before_page = Transient("Elasticsearch is away"), 2
    with pytest.raises(Transient):
        materialise_listed(documents, progress)
    documents.fail_before_page = None
    report = materialise_listed(documents, progress)
    whole = sum(len(listed) for listed in documents.partitions.values())
    assert report.events == whole - 10 + 1  # two pages of five are done; the cursor stands *at* the last document
    assert set(connection.execute(f"SELECT {COLUMNS} FROM fleetgauge.command_attempt").fetchall()) == expected


@pytest.mark.parametrize("topic_id", ["second", "first", None], ids=["new id", "rewound group", "old broker"])
def test_offsets_that_went_backwards_restart_the_cursor(materialise_listed, attempts, topic_id):
    before = {0: lifecycle()}
    materialise_listed(ListedDocuments(before), progress_of(before, LATER, topic_id=topic_id and "first"))
    # Documents of before are still stored; the new ones have low offsets again.
    stored = {0: [*lifecycle("c-9"), *lifecycle(), *lifecycle("c-8")]}
    progress = progress_of(stored, LATER, committed={0: 3}, topic_id=topic_id)
    report = materialise_listed(ListedDocuments(stored), progress)
    assert report.restarted
    assert attempts("command_id, status") == [("c-1", "succeeded"), ("c-8", "succeeded"), ("c-9", "succeeded")]
    following = materialise_listed(
        ListedDocuments(stored), progress_of(stored, LATER, committed={0: 5}, topic_id=topic_id)
    )
    assert (following.restarted, following.events) == (False, 2)


def test_a_new_topic_is_noticed_even_where_its_offsets_have_overtaken(materialise_listed, attempts):
    before = {0: lifecycle()}
    materialise_listed(ListedDocuments(before), progress_of(before, LATER))
    stored = {0: [*lifecycle("c-9"), *lifecycle("c-8")]}
    assert materialise_listed(ListedDocuments(stored), progress_of(stored, LATER, topic_id="second")).restarted
    assert attempts("command_id") == [("c-1",), ("c-8",), ("c-9",)]


def test_a_restart_that_fails_half_way_is_taken_up_again(materialise_listed, attempts):
    before = {0: lifecycle()}
    materialise_listed(ListedDocuments(before), progress_of(before, LATER))
    stored = ListedDocuments({0: [*lifecycle("c-9"), *lifecycle("c-8")]})
    stored.fail_before_page = 1
    with pytest.raises(RuntimeError):
        materialise_listed(stored, progress_of(stored.partitions, LATER, committed={0: 1}))
    stored.fail_before_page = None
    report = materialise_listed(stored, progress_of(stored.partitions, LATER, committed={0: 5}))
    assert (report.restarted, report.events) == (True, 10)  # six are left to read again, four are new since
    assert [row[0] for row in attempts("command_id")] == ["c-1", "c-8", "c-9"]


def test_a_rebuild_into_an_empty_table_gives_the_same(materialise_listed, connection, attempts):
    documents, progress, expected = crash_world()
    materialise_listed(documents, progress)
    with connection.transaction():
        rebuild.request(connection, from_empty=True)
    assert attempts("command_id") == []
    materialise_listed(documents, progress)
    assert set(attempts(COLUMNS)) == expected


def test_runs_wait_for_one_another_and_say_so(metrics):
    with (
        open_store(metrics, SOURCE),
        pytest.raises(Transient, match="another run"),
        open_store(metrics, SOURCE, lock_wait_s=0.2),
    ):
        pytest.fail("two runs at once")
    with open_store(metrics, SOURCE, lock_wait_s=0.2):
        pass


def test_a_database_without_its_schema_is_told_with_the_fix(postgres, metrics):
    bare = metrics.model_copy(
        update={"url": type(metrics.url)(postgres.url("metrics", "fleetgauge_owner", "postgres"))}
    )
    with pytest.raises(Terminal, match="fleetgauge migrate"), open_store(bare, SOURCE) as store:
        store.cursor()


def test_a_database_that_is_away_is_transient_and_names_no_password(metrics):
    away = metrics.model_copy(update={"url": type(metrics.url)("postgresql://x:hunter2@127.0.0.1:1/metrics")})
    with pytest.raises(Transient) as caught, open_store(away, SOURCE):
        pass
    assert "hunter2" not in str(caught.value)
