"""From command events to the metrics and the bill: `device_command`, `traffic` and the cost views, on Postgres."""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import psycopg
import pytest
from command_world import ListedDocuments, document, progress_of

from fleetgauge.cost.bill import usage_rows
from fleetgauge.cost.charges import Messages, cost
from fleetgauge.cost.cost_queries import whatif
from fleetgauge.cost.tariff import apply_tariffs, load_tariffs
from fleetgauge.cost.whatif import payload, retries
from fleetgauge.rollup import load_definitions, raise_failures, run_metrics
from fleetgauge.settings import Settings

CONTENT = Path(__file__).parents[3]
DEFINITIONS = load_definitions(CONTENT, "0a0a0a0a")
NOW = datetime.now(UTC).replace(microsecond=0)
BASE = (NOW - timedelta(days=1)).replace(hour=3, minute=0, second=0)  # noon in Seoul: hours around it are of one day


def ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def history(command_id: str, attempt: int = 1, answer_s: float | None = 0.9, result: str = "succeeded", **changes):
    """Events of one attempt of a command that was requested at BASE, with a minute for each attempt."""
    begin = ms(BASE) + (attempt - 1) * 60_000
    shape = {
        "command_id": command_id,
        "attempt": attempt,
        "requested_ms": ms(BASE),
        "deadline_ms": begin + 60_000,
        **changes,
    }
    found = [document("requested", begin, **shape), document("sent", begin + 50, **shape | {"size": 96})]
    found.append(document("delivered", begin + 400, **shape | {"size": 24}))
    if answer_s is not None:
        at = begin + int(answer_s * 1000)
        found.append(document("responded", at, **shape | {"size": 500, "result": result}))
    return found


@pytest.fixture
def rolled(metrics, materialise_listed, empty, connection):
    """Materialises documents and runs the two metrics, as one run does."""
    settings = Settings(metrics=metrics, content=CONTENT)

    def run(documents, watermark=NOW):
        partitions = {0: documents}
        report = materialise_listed(ListedDocuments(partitions, page=1000), progress_of(partitions, watermark))
        chosen = [DEFINITIONS["device_command"], DEFINITIONS["traffic"]]
        raise_failures(run_metrics(settings, chosen, "minute", watermark=report.watermark))

    yield run
    for definition in DEFINITIONS.values():
        for level in definition.levels:
            connection.execute(f"DELETE FROM store.{definition.table(level)}")
    connection.execute(
        "UPDATE fleetgauge.ledger SET done = '{}', closed = '{}', cursor_at = NULL, beat_at = NULL, kept_from = NULL"
    )


@pytest.fixture
def tariff(connection, tmp_path):
    """Puts entries into the table through a file of them."""

    def put(*entries: str):
        folder = tmp_path / "sql" / "tariffs"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "test.yaml").write_text(
            "currency: KRW\ntime_zone: Asia/Seoul\nentries:\n"
            + "".join(f"  - {{{e}, rounding: message}}\n" for e in entries)
        )
        assert apply_tariffs(connection, tmp_path) == len(entries)
        return load_tariffs(tmp_path)

    return put


def entry(carrier: str, since: datetime, price: str, step: int = 100, overhead: int = 81) -> str:
    return (
        f"carrier: {carrier}, valid_from: {since.isoformat()}, overhead_bytes: {overhead}, "
        f'step_bytes: {step}, price: "{price}"'
    )


def read(connection: psycopg.Connection, columns: str, view: str, where: str = "true") -> list[tuple]:
    return connection.execute(f"SELECT {columns} FROM metrics.{view} WHERE {where} ORDER BY 1, 2, 3").fetchall()


COUNTS = "requested, succeeded, failed, rejected, timed_out, expired, open, unsuccessful, late_success, attempts"


@pytest.mark.parametrize("grain", ["minute", "hour", "day"])
def test_commands_are_counted_once_by_their_last_attempt(rolled, connection, grain):
    rolled(
        [
            *history("ok"),
            *history("retried", 1, None),
            *history("retried", 2),
            *history("failed", result="failed"),
            *history("rejected", result="rejected"),
            *history("silent", 1, None),
            *history("silent", 2, None),
            *history("late", answer_s=60.001),
            history("never-sent")[0],
            *history("open", 1, None, deadline_ms=ms(NOW) + 60_000),
        ]
    )
    (row,) = read(connection, COUNTS, f"device_command_{grain}")
    assert row == (8, 2, 1, 1, 2, 1, 1, 5, 1, 10)
    ((rate, provisional, latency, acks),) = connection.execute(
        f"""SELECT failure_rate, provisional, fleetgauge.quantile(latency_ms, 0.01), fleetgauge.sketch_count(ack_ms)
        FROM metrics.device_command_{grain}"""
    ).fetchall()
    assert rate == pytest.approx(5 / 8)
    assert provisional  # for there is an open one
    assert latency == pytest.approx(900, rel=0.01)  # of succeeded commands, from the command's request
    assert acks == 7  # the last attempts that have one


def test_an_attempt_that_is_overtaken_leaves_its_cell(rolled, connection):
    """The retry goes out with another firmware: the command moves from one row to another."""
    first = history("c-1", 1, None, firmware="1.0")
    rolled(first)
    assert read(connection, "firmware, requested, timed_out", "device_command_minute") == [("1.0", 1, 1)]
    rolled(first + history("c-1", 2, firmware="2.0"))
    for grain in ("minute", "hour", "day"):
        found = read(
            connection, "firmware, requested, timed_out, succeeded", f"device_command_{grain}", "requested > 0"
        )
        assert found == [("2.0", 1, 0, 1)]


def test_a_passing_deadline_restates_its_window(rolled, connection):
    documents = history("c-1", 1, None)
    rolled(documents, watermark=BASE + timedelta(seconds=59))
    assert read(connection, "requested, open, timed_out, provisional", "device_command_minute") == [(1, 1, 0, True)]
    rolled(documents)  # no event in between
    for grain in ("minute", "hour"):
        found = read(connection, "requested, open, timed_out, provisional", f"device_command_{grain}")
        assert found == [(1, 0, 1, False)]


def test_traffic_counts_every_message_at_its_own_time(rolled, connection):
    rolled([*history("c-1", 1, 60.001), *history("c-1", 2)])
    found = read(connection, "window_start, direction, payload, messages, bytes", "traffic_minute", "true")
    second = BASE + timedelta(minutes=1)
    assert found == [
        (BASE, "downlink", [96, 1], 1, 96),
        (BASE, "uplink", [24, 1], 1, 24),
        (second, "downlink", [96, 1], 1, 96),
        (second, "uplink", [24, 500, 1, 2], 3, 1024),
    ]


def messages_of(documents: Iterable[dict], window: timedelta) -> list[Messages]:
    counted = Counter(
        (
            datetime.fromtimestamp(one["timestamp"] / 1000 // window.total_seconds() * window.total_seconds(), UTC),
            one["network"]["carrier"],
            one["message"]["bytes"],
        )
        for one in documents
        if "message" in one
    )
    return [Messages(*key, count) for key, count in counted.items()]


@pytest.mark.parametrize(
    ("grain", "window"), [("minute", timedelta(minutes=1)), ("hour", timedelta(hours=1)), ("day", timedelta(hours=1))]
)
def test_the_bill_equals_its_twin_in_python(rolled, connection, tariff, grain, window):
    """With a price that changes in the midst of a day, at an hour's edge between two attempts."""
    change = BASE + timedelta(hours=1)
    tariffs = tariff(
        entry("skt", BASE - timedelta(days=400), "0.25", 512),
        entry("kt", BASE - timedelta(days=400), "0.125"),
        entry("kt", change, "0.3333", 70, 12),
    )
    documents = []
    for number in range(12):
        carrier = ("skt", "kt")[number % 2]
        documents += history(f"c-{number}", 1, 60 * number + 3.0, carrier=carrier)
        documents += history(f"c-{number}", 60 + number, 0.5, carrier=carrier)
    rolled(documents)
    expected = cost(messages_of(documents, window), tariffs)
    (found,) = connection.execute(
        f"""SELECT sum(messages), sum(billed_bytes), sum(cost_krw), sum(unpriced_messages)
        FROM metrics.command_cost_{grain}"""
    ).fetchall()
    assert found == (expected.messages, expected.billed_bytes, expected.amount, 0)
    assert isinstance(found[2], Decimal) and expected.amount > 0
    by_day = connection.execute(f"SELECT sum(bytes) FROM metrics.command_cost_{grain}").fetchone()
    assert by_day == connection.execute("SELECT sum(bytes) FROM metrics.traffic_day").fetchone()


def test_a_new_price_leaves_history_alone_and_a_corrected_one_restates_it(rolled, connection, tariff):
    rolled(history("c-1"))

    def total() -> Decimal:
        return connection.execute("SELECT sum(cost_krw) FROM metrics.command_cost_day").fetchone()[0]

    since = BASE - timedelta(days=400)
    tariff(entry("skt", since, "0.25"))
    before = total()
    tariff(entry("skt", since, "0.25"), entry("skt", BASE + timedelta(hours=2), "9"))
    assert total() == before > 0
    tariff(entry("skt", since, "0.5"))
    assert total() == 2 * before


@pytest.mark.parametrize("grain", ["minute", "hour", "day"])
def test_what_has_no_price_is_counted_beside_the_cost(rolled, connection, tariff, grain):
    tariff(entry("skt", BASE + timedelta(hours=1), "0.25"), entry("kt", BASE - timedelta(days=1), "0.25"))
    rolled([*history("c-1"), *history("c-1", 62), *history("c-2", carrier="kt"), *history("c-3", carrier="roaming")])
    found = {
        (carrier, direction): (messages, krw, billed, unpriced)
        for carrier, direction, messages, krw, billed, unpriced in connection.execute(
            f"""SELECT carrier, direction, sum(messages), sum(cost_krw), sum(billed_bytes), sum(unpriced_messages)
            FROM metrics.command_cost_{grain} GROUP BY carrier, direction"""
        )
    }
    # An ack of 24 bytes and an answer of 500, with 81 of overhead in steps of 100: 2 and 6.
    assert found["kt", "uplink"] == (2, Decimal("2"), 800, 0)
    assert found["roaming", "uplink"] == (2, Decimal(0), 0, 2)
    assert found["roaming", "downlink"] == (1, Decimal(0), 0, 1)
    assert found["skt", "uplink"] == (4, Decimal("2"), 800, 2)  # the second attempt's have a price


def test_what_a_change_would_save_is_told_from_what_is_stored(rolled, connection, metrics, tariff):
    """Two commands, one of which took a second try: an answer of 500 bytes each, in steps of 100 at 0.25."""
    tariff(entry("skt", BASE - timedelta(days=400), "0.25"))
    rolled([*history("c-1"), *history("c-2", 1, None), *history("c-2", 2)])
    usage = usage_rows(connection)
    assert {one.direction: (dict(one.sizes), dict(one.further)) for one in usage} == {
        "downlink": ({96: 3}, {96: 1}),
        "uplink": ({24: 3, 500: 2}, {24: 1, 500: 1}),
    }
    billed = connection.execute("SELECT sum(cost_krw) FROM metrics.command_cost_day").fetchone()[0]
    settings = Settings(metrics=metrics, content=CONTENT)
    found = whatif(settings, [payload("unlock", "uplink", 119, None)])  # with 81 of overhead: 2 steps of 6
    assert (found.before, found.after) == (billed, billed - 2 * 4 * Decimal("0.25"))
    assert found.saving.expected == found.saving.low == found.saving.high == 365 * 2
    # with the second try its ack and its answer go: 2 + 2 + 6 steps
    assert whatif(settings, [retries("unlock", Fraction(0))]).after == billed - 10 * Decimal("0.25")


def test_messages_of_unknown_size_are_unpriced(rolled, connection, tariff):
    tariff(entry("skt", BASE - timedelta(days=1), "0.25"))
    documents = history("c-1")
    del documents[1]["message"]
    rolled(documents)
    assert read(
        connection, "direction, cost_krw, unpriced_messages", "command_cost_hour", "direction = 'downlink'"
    ) == [("downlink", Decimal(0), 1)]


def test_the_projects_tariffs_can_be_applied_twice(connection):
    assert apply_tariffs(connection, CONTENT) == apply_tariffs(connection, CONTENT) == 4
    last = connection.execute("SELECT count(*) FROM fleetgauge.tariff WHERE valid_to = 'infinity'").fetchone()
    assert last == (3,)


def test_viewers_see_the_bill_but_neither_the_attempts_nor_the_tariff(postgres, metrics, connection):
    database = connection.info.dbname
    with psycopg.connect(postgres.url("metrics", "grafana", database), autocommit=True) as grafana:
        grafana.execute("SELECT * FROM metrics.command_cost_day")
        for table in ("command_attempt", "tariff", "command_cursor"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                grafana.execute(f"SELECT * FROM fleetgauge.{table}")
    with (
        psycopg.connect(metrics.url.get_secret_value(), autocommit=True) as pipeline,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        pipeline.execute("UPDATE fleetgauge.tariff SET price = 0")
