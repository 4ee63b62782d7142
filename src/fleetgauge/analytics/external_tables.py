"""Exports as tables elsewhere: DDL for Athena, and what Glue's catalogue is told. Text alone; nothing is called."""

from collections.abc import Mapping
from typing import Any

from fleetgauge.addresses import without_login
from fleetgauge.analytics.parquet_days import DECIMALS, PARTITION, table_name
from fleetgauge.analytics.range_query import AnswerColumn, Kind, RangeQuery
from fleetgauge.errors import Terminal

_TYPES: Mapping[Kind, str] = {
    "text": "string",
    "integer": "bigint",
    "decimal": f"decimal(38,{DECIMALS})",
    "float": "double",
    "boolean": "boolean",
    "instant": "timestamp",
}
_PARQUET = "org.apache.hadoop.hive.ql.io.parquet"


def athena(asked: RangeQuery, location: str, database: str) -> str:
    """`CREATE EXTERNAL TABLE` with partition projection, so that no partition has to be added. Raises `Terminal`."""
    columns = ",\n".join(f"  `{one.name}` {_TYPES[one.kind]}{_comment(one)}" for one in asked.columns())
    properties = ",\n".join(
        f"  {_quoted(key)} = {_quoted(value)}" for key, value in _projection(asked, location).items()
    )
    return (
        f"CREATE EXTERNAL TABLE IF NOT EXISTS `{database}`.`{_table(asked)}` (\n{columns}\n)\n"
        f"COMMENT {_quoted(_said(asked))}\n"
        f"PARTITIONED BY (`{PARTITION}` string COMMENT {_quoted(_day(asked))})\n"
        f"STORED AS PARQUET\nLOCATION {_quoted(_folder(asked, location))}\nTBLPROPERTIES (\n{properties}\n);"
    )


def glue(asked: RangeQuery, location: str) -> dict[str, Any]:
    """The `TableInput` of Glue's `CreateTable`, for the same table. Raises `Terminal`."""
    return {
        "Name": _table(asked),
        "Description": _said(asked),
        "TableType": "EXTERNAL_TABLE",
        "Parameters": {"classification": "parquet", "EXTERNAL": "TRUE", **_projection(asked, location)},
        "PartitionKeys": [{"Name": PARTITION, "Type": "string", "Comment": _day(asked)}],
        "StorageDescriptor": {
            "Columns": [
                {"Name": one.name, "Type": _TYPES[one.kind], "Comment": one.description[:255]}
                for one in asked.columns()
            ],
            "Location": _folder(asked, location),
            "InputFormat": f"{_PARQUET}.MapredParquetInputFormat",
            "OutputFormat": f"{_PARQUET}.MapredParquetOutputFormat",
            "SerdeInfo": {"SerializationLibrary": f"{_PARQUET}.serde.ParquetHiveSerDe"},
        },
    }


def _table(asked: RangeQuery) -> str:
    return table_name(asked.readable.name, asked.grain)


def _folder(asked: RangeQuery, location: str) -> str:
    if not location.startswith("s3://"):
        raise Terminal(
            f"{without_login(location)} is nothing that Athena reads; give an address such as s3://bucket/prefix"
        )
    return f"{without_login(location).rstrip('/')}/{_table(asked)}/"


def _projection(asked: RangeQuery, location: str) -> dict[str, str]:
    return {
        "projection.enabled": "true",
        f"projection.{PARTITION}.type": "date",
        f"projection.{PARTITION}.format": "yyyy-MM-dd",
        f"projection.{PARTITION}.range": "2000-01-01,NOW+1DAYS",
        "storage.location.template": f"{_folder(asked, location)}{PARTITION}=${{{PARTITION}}}/",
    }


def _comment(one: AnswerColumn) -> str:
    return f" COMMENT {_quoted(one.description[:255])}" if one.description else ""


def _said(asked: RangeQuery) -> str:
    return " ".join(asked.readable.description.split())[:255] or asked.readable.name


def _day(asked: RangeQuery) -> str:
    return f"The local day, in {asked.readable.time_zone}."


def _quoted(text: str) -> str:
    """As Hive's DDL has it, which Athena speaks here."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
