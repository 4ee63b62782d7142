"""What `read` gives equals what dashboards show and what `fleetgauge show` tells, by an analyst's login."""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import psutil
import psycopg
import pytest
from dashboard_world import Filled

from fleetgauge import analytics
from fleetgauge.errors import FleetgaugeError, Terminal
from fleetgauge.rollup import GRAINS, load_definitions
from fleetgauge.rollup.definitions.measures import label_of, unit_of
from fleetgauge.rollup.operating.show import show

ROOT = Path(__file__).parents[3]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
SEOUL = ZoneInfo("Asia/Seoul")


def queries(uid: str, since: datetime, until: datetime, grain: str = "hour") -> dict[str, str]:
    """A dashboard's statements, by panel."""
    from dashboards.queries import panel_queries

    generated = json.loads((ROOT / "dashboards" / "generated" / f"{uid}.json").read_text("utf-8"))
    return {one.name: one.sql for one in panel_queries(generated, {"grain": grain}, since, until)}


def plain(value: Any) -> Any:
    """NA as None."""
    return None if value is None or value is pd.NA or value != value else value


@pytest.fixture
def url(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> str:
    """The analyst's login, by argument and by environment; no content is near."""
    monkeypatch.setenv("FLEETGAUGE_METRICS__URL", filled.analyst_url)
    monkeypatch.setenv("FLEETGAUGE_CONTENT", "/nowhere")
    return filled.analyst_url


@pytest.mark.parametrize("metric", ["rental", "device_command", "traffic", "vehicle_state"])
@pytest.mark.parametrize("grain", GRAINS)
def test_each_number_is_that_of_the_report(filled: Filled, url: str, metric: str, grain: Any) -> None:
    one = load_definitions(ROOT)[metric]
    since = datetime(filled.now.year, filled.now.month, filled.now.day, tzinfo=SEOUL) - timedelta(days=1)
    until = since + timedelta(days=1)
    if grain == "minute":
        since, until = since + timedelta(hours=18), since + timedelta(hours=20)
    for by in ((), tuple(one.dimensions), tuple(one.dimensions)[:1]):
        told = show(filled.settings, one, grain, (since, until), by, 100_000)
        found = analytics.read(metric, grain, since, until, by=by)
        assert len(found) == len(told.rows) > 0
        for row, (at, mine) in zip(told.rows, found.iterrows(), strict=True):
            right = dict(zip(told.columns, row, strict=True))
            assert (at, at.tzinfo) == (right.pop("window_start"), SEOUL)
            right.pop("date", None)
            kept_back = mine.get("suppressed", False)
            for name, value in right.items():
                if name in mine and not (kept_back and name == "riders"):  # operators see all
                    assert plain(mine[name]) == value, (name, right)
            assert set(right) - set(mine.index) == set()


def test_each_number_is_that_of_the_dashboard(filled: Filled, url: str) -> None:
    since, until = filled.now - timedelta(days=2, hours=5, minutes=23), filled.now - timedelta(minutes=7)
    panels = {uid: queries(uid, since, until) for uid in ("fleetgauge-commands", "fleetgauge-service")}
    whole = analytics.read("device_command", "day", since, until)
    cost = analytics.read("command_cost", "hour", since, until, by=["command_type"])
    rentals = analytics.read("rental", "hour", since, until, by="zone")
    with psycopg.connect(filled.grafana_url, autocommit=True) as grafana:

        def panel(uid: str, name: str) -> list[tuple[Any, ...]]:
            return grafana.execute(panels[uid][name]).fetchall()

        requested = sum(row[-1] for row in panel("fleetgauge-commands", "Commands"))
        assert whole["requested"].sum() == requested
        ((failed,),) = panel("fleetgauge-commands", "Failure rate")
        assert whole["unsuccessful"].sum() / whole["requested"].sum() == pytest.approx(failed, rel=1e-12)
        by_hour = {
            (at, command): value for at, command, value in panel("fleetgauge-commands", "Cost per $bucket by command")
        }
        told = {command for _, command in by_hour}
        assert len(told) == 6 and "all others" in told
        mine: dict[tuple[Any, str], Decimal] = defaultdict(Decimal)
        for at, row in cost[cost["cost_krw"] != 0].iterrows():
            mine[at, row["command_type"] if row["command_type"] in told else "all others"] += row["cost_krw"]
        assert mine == {key: value for key, value in by_hour.items() if value}
        assert {type(value) for value in cost["cost_krw"]} == {Decimal}
        started = sum(row[-1] for row in panel("fleetgauge-service", "Rentals"))
        assert rentals["started"].sum() == started


def test_the_index_is_in_the_metrics_zone_and_what_is_cut_or_open_is_marked(filled: Filled, url: str) -> None:
    today = filled.now.astimezone(SEOUL).date()
    found = analytics.read("rental", "day", today - timedelta(days=1), filled.now)
    assert str(found.index.dtype) == "datetime64[us, Asia/Seoul]"
    assert [at.isoformat() for at in found.index] == [
        f"{today - timedelta(days=1)}T00:00:00+09:00",
        f"{today}T00:00:00+09:00",
    ]
    assert found["partial"].tolist() == [False, True]
    assert found["provisional"].tolist()[-1] is True
    assert not found["blocked"].any() and not found["frozen"].any()
    assert found.dtypes[["started", "riders"]].astype(str).tolist() == ["Int64", "Int64"]
    same = analytics.read(
        "rental", "day", f"{today - timedelta(days=1)}", filled.now.replace(tzinfo=None) + timedelta(hours=9)
    )
    assert same.index.equals(found.index)
    empty = analytics.read("rental", "day", "2001-01-01", date(2001, 1, 2))
    assert (len(empty), str(empty.index.dtype), list(empty.columns)) == (0, str(found.index.dtype), list(found.columns))


def test_blocked_minutes_mark_their_window_alone(filled: Filled, url: str) -> None:
    at = (filled.now - timedelta(days=1)).replace(minute=30)
    with psycopg.connect(filled.settings.metrics.url.get_secret_value(), autocommit=True) as writer:
        writer.execute(
            "INSERT INTO fleetgauge.blocked (metric, version, window_start, reason, dimensions) SELECT metric, version,"
            " %s, 'a check', '{gangnam,x}' FROM fleetgauge.metric_version WHERE metric = 'rental'",
            [at],
        )
        try:
            found = analytics.read("rental", "hour", at - timedelta(hours=2), at + timedelta(hours=2))
        finally:
            writer.execute("DELETE FROM fleetgauge.blocked WHERE reason = 'a check'")
    assert [start for start, row in found.iterrows() if row["blocked"]] == [
        at.replace(minute=0, second=0, microsecond=0)
    ]


def test_where_narrows_by_parameters_and_the_smallest_views_are_read(filled: Filled, url: str) -> None:
    since, until = filled.now - timedelta(days=2), filled.now
    all_of_it = analytics.read("device_command", "hour", since, until, by=["command_type"], measures=["requested"])
    assert all_of_it.attrs["views"] == "metrics.device_command_by_command_…"
    for wanted in ("unlock", ["unlock", "lock"], "x' OR 'a'='a", ["%s", '"'], []):
        narrowed = {"by": ["command_type"], "where": {"command_type": wanted}, "measures": ["requested"]}
        found = analytics.read("device_command", "hour", since, until, **narrowed)
        names = [wanted] if isinstance(wanted, str) else wanted
        pd.testing.assert_frame_equal(found, all_of_it[all_of_it["command_type"].isin(names)])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"metric": "rentals"}, "did you mean rental?"),
        ({"metric": "rental_by_zone"}, "there is no metric 'rental_by_zone'"),
        ({"metric": 'rental"; DROP TABLE x --'}, "there is no metric"),
        ({"by": ["zoned"]}, "has no dimension 'zoned'; did you mean zone?"),
        ({"by": ["zone\" FROM pg_roles --"]}, "has no dimension"),
        ({"where": {"version": "x"}}, "has no dimension 'version'"),
        ({"measures": ["start"]}, "has no measure 'start'; did you mean started?"),
        ({"measures": ["zone"]}, "has no measure 'zone'"),
        ({"grain": "week"}, "write minute, hour or day"),
        ({"start": "yesterday"}, "is no instant"),
        ({"start": None}, "is no instant"),
        ({"start": "2027-01-01", "end": "2026-01-01"}, "before it begins"),
        ({"quantiles": [95]}, "does not lie between 0 and 1"),
        ({"url": "mysql://x"}, "is not valid"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_said(url: str, asked: dict[str, Any], said: str) -> None:
    given = {"metric": "rental", "grain": "day", "start": "2026-01-01", "end": "2026-02-01", **asked}
    with pytest.raises(Terminal, match=said.replace("?", r"\?")):
        analytics.read(**given)


def test_metrics_and_their_columns_are_found_in_the_database(url: str) -> None:
    found = analytics.metrics()
    assert {"rental", "device_command", "traffic", "vehicle_state", "command_cost"} <= set(found.index)
    assert not [name for name in found.index if "_by_" in name]
    assert found.loc["command_cost", "derived_from"] == "traffic"
    for name, one in load_definitions(ROOT).items():
        assert found.loc[name, "dimensions"] == list(one.dimensions)
        told = analytics.describe(name)
        assert told[told["role"] == "measure"]["aggregate"].to_dict() == {m: k.agg for m, k in one.measures.items()}
        assert told["unit"].dropna().to_dict() == {m: unit_of(m, kind) for m, kind in one.measures.items()}
        assert told["label"].dropna().to_dict() == {m: label_of(m, kind) for m, kind in one.measures.items()}
        parts = {key: part.description for key, part in (dict(one.dimensions) | dict(one.measures)).items()}
        assert {key: said for key, said in told["description"].items() if parts[key]} == {
            key: said for key, said in parts.items() if said
        }
    cost = analytics.describe("command_cost")
    assert cost.loc["cost_krw", "aggregate"] == "sum"
    assert list(cost[cost["role"] == "dimension"].index) == ["command_type", "carrier", "direction"]


def test_the_sql_that_describe_tells_gives_what_read_gives(filled: Filled, url: str) -> None:
    since, until = filled.now - timedelta(days=2), filled.now
    with psycopg.connect(url, autocommit=True) as analyst:
        for name in ("rental", "device_command", "traffic", "vehicle_state", "command_cost"):
            told = analytics.describe(name)
            plain_sql = told[(told["role"] == "measure") & (told["aggregate"] != "distinct")]["sql"]
            row = analyst.execute(
                f"SELECT {', '.join(plain_sql)} FROM metrics.{name}_range(%s, %s, 'hour')", [since, until]
            ).fetchone()
            frame = analytics.read(name, "day", since, until, quantiles=[0.95])
            for measure, value in zip(plain_sql.index, row or (), strict=True):
                if measure in frame and told.loc[measure, "aggregate"] in ("sum", "count", "duration"):
                    assert frame[measure].sum() == value, (name, measure)


def test_an_analyst_reads_for_a_minute_and_writes_nothing(filled: Filled, url: str) -> None:
    with psycopg.connect(url, autocommit=True) as analyst:
        assert analyst.execute("SHOW statement_timeout").fetchone() == ("1min",)
        assert analyst.execute("SHOW default_transaction_read_only").fetchone() == ("on",)
        analyst.execute("SET default_transaction_read_only = off")
        for forbidden in (
            "SELECT * FROM fleetgauge.metric_version",
            "DELETE FROM fleetgauge.blocked",
            "CREATE TABLE metrics.mine (a int)",
            "CREATE TABLE public.mine (a int)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                analyst.execute(forbidden)
    slow = f"{url}?options=-c%20statement_timeout%3D1"
    with pytest.raises(FleetgaugeError, match="statement timeout"):
        analytics.read("rental", "minute", filled.now - timedelta(days=3), filled.now, by=["zone"], url=slow)


@pytest.fixture
def year(filled: Filled) -> Iterator[tuple[datetime, datetime]]:
    """A year of commands' days in cells of three dimensions, each a copy of a day that the rollup has made."""
    end = datetime(2025, 1, 1, tzinfo=SEOUL)
    with psycopg.connect(filled.settings.metrics.owner_url.get_secret_value(), autocommit=True) as owner:  # type: ignore[union-attr]
        owner.execute("SET ROLE fleetgauge_writer")
        (table,) = owner.execute(
            "SELECT relname FROM pg_class WHERE relname LIKE 'device\\_command\\_by\\_firmware\\_day\\_\\_%%'"
            " AND relkind = 'p'"
        ).fetchone()
        columns = [
            name
            for (name,) in owner.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum",
                [f"store.{table}"],
            )
        ]
        rest = ", ".join(columns[2:])
        owner.execute(
            f"CREATE TABLE store.a_year PARTITION OF store.{table}"
            " FOR VALUES FROM ('2024-01-01+09') TO ('2025-01-01+09')"
        )
        owner.execute(
            f"INSERT INTO store.a_year ({', '.join(columns)}) SELECT d AT TIME ZONE 'Asia/Seoul', d, {rest}"
            f" FROM generate_series(timestamp '2024-01-01', '2024-12-30', '1 day') AS d, (SELECT DISTINCT ON"
            f" (command_type, vehicle_model, firmware) {rest} FROM store.{table} ORDER BY 1, 2, 3) AS t"
        )
        owner.execute("ANALYZE store.a_year")
        yield end - timedelta(days=366), end
        owner.execute("DROP TABLE store.a_year")


def test_a_year_of_days_by_three_dimensions_is_read_in_one_go(
    filled: Filled, url: str, year: tuple[datetime, datetime]
) -> None:
    """Of processor time, ours and the server's, for others may be at work on the machine."""
    by, took = ["command_type", "vehicle_model", "firmware"], []
    for _ in range(3):
        begun, server = time.process_time(), busy(filled)
        found = analytics.read("device_command", "day", *year, by=by)
        took.append(time.process_time() - begun + busy(filled) - server)
    print(len(found), "rows in", took)  # noqa: T201
    assert found.index.nunique() == 365
    assert len(found) > 20_000
    assert min(took) <= 5, "0.7 as a rule; by sketches merged pair by pair, ten"


def busy(filled: Filled) -> float:
    """Seconds of processor time of the metrics server, its sessions that have ended included."""
    with psycopg.connect(filled.settings.metrics.url.get_secret_value()) as connection:
        parent = psutil.Process(connection.info.backend_pid).parent()
    sessions = 0.0
    for child in parent.children():
        with suppress(psutil.NoSuchProcess):  # a session that ends meanwhile is its parent's from then on
            sessions += sum(child.cpu_times()[:2])
    own = parent.cpu_times()
    return sum((own.user, own.system, own.children_user, own.children_system, sessions))
