"""Exports: what is read back is what `read` gives, written twice it is the same, broken off it is not there."""

import json
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import botocore.session
import duckdb
import fsspec
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlglot
from botocore.validate import ParamValidator
from dashboard_world import Filled
from moto.server import ThreadedMotoServer
from pyarrow import fs
from sqlglot import exp
from typer.testing import CliRunner

from fleetgauge import analytics
from fleetgauge.addresses import DatabaseUrl
from fleetgauge.analytics.frames import connected
from fleetgauge.analytics.parquet_days import store_of, write_days
from fleetgauge.cli.app import app
from fleetgauge.errors import FleetgaugeError, Terminal
from fleetgauge.nightly_exports import export_aggregates
from fleetgauge.settings import ExportSettings, MetricsSettings

SEOUL = ZoneInfo("Asia/Seoul")
METRICS = ("rental", "device_command", "traffic", "vehicle_state", "command_cost")


@pytest.fixture(autouse=True)
def analyst(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    """The analyst's login, for processes and the CLI too."""
    monkeypatch.setenv("FLEETGAUGE_METRICS__URL", filled.analyst_url)


@pytest.fixture
def days(filled: Filled) -> tuple[date, date]:
    """Two days with rows, and one before that has none."""
    today = filled.now.astimezone(SEOUL).date()
    return today - timedelta(days=9), today + timedelta(days=1)


def export(metric: str, days: tuple[date, date], root: Path | str, grain: Any = "day") -> dict[str, Any]:
    span = ["--from", f"{days[0]}", "--to", f"{days[1]}"]
    said = CliRunner().invoke(
        app, ["export", "parquet", metric, "--grain", grain, "--into", str(root), "--json", *span]
    )
    if said.exception is not None and not isinstance(said.exception, SystemExit):
        raise said.exception
    return {one["path"]: one["rows"] for one in json.loads(said.stdout)}


def exact(values: list[Any]) -> list[Any]:
    """NA as None, and instants as microseconds."""
    return [None if value is None or value != value else value for value in values]


@pytest.mark.parametrize("metric", METRICS)
def test_what_duckdb_reads_back_is_what_read_gives(tmp_path: Path, days: tuple[date, date], metric: str) -> None:
    for grain in ("day", "hour"):
        written = export(metric, days, tmp_path, grain)
        assert len(written) == 10
        dimensions = analytics.metrics().loc[metric, "dimensions"]
        frame = analytics.read(metric, grain, *days, by=dimensions)
        assert sum(written.values()) == len(frame) > 0
        order = ", ".join(["bucket_start", *(f'"{name}"' for name in dimensions)])
        found = duckdb.sql(
            f"SELECT * FROM read_parquet('{tmp_path}/{metric}_{grain}/*/*.parquet', hive_partitioning = true,"
            f" hive_types = {{'date': DATE}}) ORDER BY {order}"
        ).to_arrow_table()
        assert found["bucket_start"].cast(pa.int64()).to_pylist() == frame.index.astype("int64").tolist()
        assert found["date"].to_pylist() == [at.date() for at in frame.index]
        for name in frame.columns:
            assert found[name].to_pylist() == exact(
                frame[name].astype(object).where(frame[name].notna(), None).tolist()
            )
        assert set(found.column_names) == {*frame.columns, "bucket_start", "date"}
        assert not [field for field in found.schema if pa.types.is_list(field.type)], "no sketch leaves"


def test_one_query_joins_exports_of_two_sources(tmp_path: Path, filled: Filled, days: tuple[date, date]) -> None:
    for metric in ("rental", "command_cost"):
        export(metric, days, tmp_path)
    found = duckdb.sql(
        f"""
        WITH rental AS (SELECT date, sum(started) AS rides FROM '{tmp_path}/rental_day/*/*.parquet' GROUP BY date),
        cost AS (SELECT date, sum(cost_krw) AS krw FROM '{tmp_path}/command_cost_day/*/*.parquet' GROUP BY date)
        SELECT date, rides, krw, krw / rides AS krw_a_ride FROM rental JOIN cost USING (date) ORDER BY date
        """
    ).fetchall()
    with psycopg.connect(filled.grafana_url, autocommit=True) as grafana:
        right = grafana.execute(
            "SELECT r.date, r.rides, c.krw FROM (SELECT date, sum(started) AS rides FROM metrics.rental_day GROUP BY 1)"
            " AS r INNER JOIN (SELECT date, sum(cost_krw) AS krw FROM metrics.command_cost_day GROUP BY 1) AS c"
            " USING (date) ORDER BY 1"
        ).fetchall()
    assert [row[:3] for row in found] == right
    assert len(right) >= 2


def test_the_same_day_again_is_the_same_file_and_a_failure_leaves_it(
    tmp_path: Path, days: tuple[date, date], filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = export("rental", days, tmp_path)
    before = {path: Path(path).read_bytes() for path in first}
    assert export("rental", days, tmp_path) == first
    assert {str(path): path.read_bytes() for path in tmp_path.rglob("*.parquet")} == before
    assert 0 in first.values(), "a day without rows is a file without rows"

    def full(*given: Any, **named: Any) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_batch", full)
    with pytest.raises(FleetgaugeError, match="could not be written"):
        export("rental", days, tmp_path)
    assert {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_dry_run_writes_nothing_and_wrong_days_are_said(tmp_path: Path, days: tuple[date, date]) -> None:
    with connected(None) as connection:
        store, root = store_of(str(tmp_path))
        planned = list(write_days(connection, "rental", "day", *days, store, root, dry_run=True))
    assert {one.rows for one in planned} == {None}
    assert list(tmp_path.iterdir()) == []
    for wrong in ((days[1], days[0]), ("2026-1", days[1])):
        with pytest.raises(Terminal, match="--from"):
            export("rental", wrong, tmp_path)  # type: ignore[arg-type]
    with pytest.raises(Terminal, match="neither a folder nor the URI"):
        export("rental", days, "gopher://x/y")


def test_the_nightly_export_writes_the_same_through_the_store_that_airflow_opens(
    tmp_path: Path, filled: Filled
) -> None:
    """`ObjectStoragePath.fs` is a file system of fsspec; the DAG's own part is tested beside the DAGs."""
    by_hand, nightly = tmp_path / "a", tmp_path / "b"
    today = filled.now.astimezone(SEOUL).date()
    found = filled.settings.model_copy(
        update={
            "metrics": MetricsSettings(url=DatabaseUrl(filled.analyst_url)),
            "export": ExportSettings(metrics=("rental", "traffic"), days=3),
        }
    )
    for name in ("rental", "traffic"):
        export(name, (today - timedelta(days=3), today), by_hand)
    store = fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem("file")))
    for _ in range(2):
        assert export_aggregates(found, store, str(nightly), filled.now) == {"rental": 3, "traffic": 3}
        files = {
            root: {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
            for root in (by_hand, nightly)
        }
        assert files[by_hand] == files[nightly] and len(files[nightly]) == 6
    wrong = found.model_copy(update={"export": ExportSettings(metrics=("rental", "rentals"), days=1)})
    with pytest.raises(Terminal, match="rentals: there is no metric 'rentals'"):
        export_aggregates(wrong, store, str(tmp_path / "c"), filled.now)
    assert len(list((tmp_path / "c").rglob("*.parquet"))) == 1, "one's failure stops no other"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3-compatible store on loopback."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        _, port = server.get_host_and_port()
        options = f"endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
        store, _ = fs.FileSystem.from_uri(f"s3://exports/x?{options}&allow_bucket_creation=true")
        store.create_dir("exports")
        yield f"s3://exports/fleet?{options}"
    finally:
        server.stop()


def test_a_store_that_speaks_s3_holds_the_same(tmp_path: Path, bucket: str, days: tuple[date, date]) -> None:
    local = export("rental", days, tmp_path)
    for _ in range(2):
        remote = export("rental", days, bucket)
    assert list(remote.values()) == list(local.values())
    store, root = store_of(bucket)
    there = [one.path for one in store.get_file_info(fs.FileSelector(root, recursive=True)) if one.is_file]
    assert sorted(there) == sorted(remote)
    for here, other in zip(local, remote, strict=True):
        assert pq.read_table(here, partitioning=None).equals(pq.read_table(other, filesystem=store, partitioning=None))


@pytest.mark.parametrize("metric", METRICS)
def test_ddl_is_understood_and_has_the_columns_of_the_files(
    tmp_path: Path, days: tuple[date, date], metric: str
) -> None:
    path = next(iter(export(metric, days, tmp_path)))
    names = pq.read_schema(path).names
    asked = ["export", "ddl", metric, "--into", "s3://exports/fleet", "--json"]
    text = json.loads(CliRunner().invoke(app, asked).stdout)["athena"]
    parsed = sqlglot.parse_one(text, dialect="athena")
    assert isinstance(parsed, exp.Create)
    assert (parsed.kind, parsed.this.this.db, parsed.this.this.name) == ("TABLE", "fleetgauge", f"{metric}_day")
    columns = [one for one in parsed.find_all(exp.ColumnDef) if not one.find_ancestor(exp.PartitionedByProperty)]
    assert [one.name for one in columns if one.name != "date"] == names
    assert parsed.find(exp.LocationProperty).this.name == f"s3://exports/fleet/{metric}_day/"
    table = json.loads(CliRunner().invoke(app, [*asked, "--dialect", "glue"]).stdout)["glue"]
    shape = botocore.session.get_session().get_service_model("glue").operation_model("CreateTable").input_shape
    report = ParamValidator().validate({"DatabaseName": "fleetgauge", "TableInput": table}, shape)
    assert report.generate_report() == ""
    assert [one["Name"] for one in table["StorageDescriptor"]["Columns"]] == names


def test_a_number_that_does_not_fit_is_refused_and_never_rounded(filled: Filled, tmp_path: Path) -> None:
    day = datetime(2024, 3, 1, tzinfo=SEOUL)
    url = filled.settings.metrics.owner_url
    with psycopg.connect(url.get_secret_value() if url else "", autocommit=True) as owner:
        owner.execute("SET ROLE fleetgauge_writer")
        (table,) = owner.execute(
            "SELECT relname FROM pg_class WHERE relname LIKE 'rental\\_day\\_\\_%' AND relkind = 'p'"
        ).fetchone()
        columns = owner.execute(f"SELECT * FROM store.{table} LIMIT 1")
        names, row = [one.name for one in columns.description or ()], columns.fetchone()
        values = dict(zip(names, row or (), strict=True)) | {"window_start": day, "date": day.date()}
        values["fare_krw"] = "0.1234567891"
        owner.execute(
            f"CREATE TABLE store.odd PARTITION OF store.{table} FOR VALUES FROM ('2024-01-01+09') TO ('2025-01-01+09')"
        )
        try:
            owner.execute(
                f"INSERT INTO store.odd ({', '.join(names)}) VALUES ({', '.join(['%s'] * len(names))})",
                list(values.values()),
            )
            with pytest.raises(Terminal, match=r"rental\.fare_krw holds a number"):
                export("rental", (day.date(), day.date() + timedelta(days=1)), tmp_path)
        finally:
            owner.execute("DROP TABLE store.odd")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
