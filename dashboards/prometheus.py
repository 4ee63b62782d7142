"""The Prometheus data source: queries of panels, and variables that list the values of a label."""

from grafana_foundation_sdk.builders import dashboard, prometheus
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.dashboard import DataSourceRef
from grafana_foundation_sdk.models.prometheus import PromQueryFormat, QueryEditorMode

PLUGIN = "prometheus"
DATASOURCE_UID = "fleetgauge-prometheus"


def datasource() -> DataSourceRef:
    """Prometheus, by uid, as provisioned in `provisioning/datasources`."""
    return DataSourceRef(type_val=PLUGIN, uid=DATASOURCE_UID)


def series(expr: str, legend: str, ref_id: str = "A") -> prometheus.Dataquery:
    """Values over the time range; `legend` may name labels: `{{consumer}}`."""
    return _query(expr, ref_id).range().legend_format(legend).format(PromQueryFormat.TIME_SERIES)


def value(expr: str, ref_id: str = "A") -> prometheus.Dataquery:
    """The value at the end of the time range."""
    return _query(expr, ref_id).instant().format(PromQueryFormat.TABLE)


def _query(expr: str, ref_id: str) -> prometheus.Dataquery:
    query = prometheus.Dataquery().expr(" ".join(expr.split())).editor_mode(QueryEditorMode.CODE)
    return query.ref_id(ref_id).datasource(datasource())


def label_variable(name: str, title: str, metric: str) -> dashboard.QueryVariable:
    """Several values of a label of that name, or All."""
    return (
        dashboard.QueryVariable(name)
        .label(title)
        .datasource(datasource())
        .query({"qryType": 1, "query": f"label_values({metric}, {name})", "refId": name})
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .allow_custom_value(False)
        .current(model.VariableOption(text=["All"], value=["$__all"], selected=True))
    )
