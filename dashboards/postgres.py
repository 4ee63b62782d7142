"""The Postgres data source in the words of the Grafana SDK, which has no builder for SQL queries."""

from dataclasses import dataclass
from textwrap import dedent
from typing import Literal

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.dashboard import DataSourceRef

PLUGIN = "grafana-postgresql-datasource"
DATASOURCE_UID = "fleetgauge-metrics"

Format = Literal["time_series", "table"]


def datasource() -> DataSourceRef:
    """The metrics database, by uid, as provisioned in `provisioning/datasources`."""
    return DataSourceRef(type_val=PLUGIN, uid=DATASOURCE_UID)


@dataclass(frozen=True)
class SqlQuery(Dataquery):
    """One query of a panel. As `time_series` the first column is called "time" and rows ascend by it."""

    sql: str
    format: Format
    ref_id: str = "A"

    def to_json(self) -> dict[str, object]:
        """What the panel's JSON holds under `targets`."""
        return {
            "refId": self.ref_id,
            "datasource": {"type": PLUGIN, "uid": DATASOURCE_UID},
            "editorMode": "code",
            "format": self.format,
            "rawQuery": True,
            "rawSql": self.sql,
        }


@dataclass(frozen=True)
class Sql(Builder[SqlQuery]):
    """A builder, since the SDK's panels take builders; leading blanks of `sql` are removed."""

    sql: str
    format: Format = "table"
    ref_id: str = "A"

    def build(self) -> SqlQuery:
        """The query itself."""
        return SqlQuery(dedent(self.sql).strip(), self.format, self.ref_id)
