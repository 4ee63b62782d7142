"""What dashboards on Prometheus share; their panels are those of `dashboards.panels`."""

from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard, table
from grafana_foundation_sdk.models import dashboard as model

from dashboards.frame import TAG
from dashboards.panels import HALF, table_panel
from dashboards.prometheus import value


def monitoring_dashboard(uid: str, title: str, description: str, tags: Sequence[str]) -> dashboard.Dashboard:
    """An empty dashboard in the viewer's own time zone: instants matter here, not days."""
    link = (
        dashboard.DashboardLink("fleetgauge dashboards")
        .type(model.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .icon("dashboard")
        .as_dropdown(True)
        .keep_time(True)
        .include_vars(False)
        .target_blank(False)
    )
    return (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG, *tags])
        .timezone("browser")
        .readonly()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .time("now-6h", "now")
        .refresh("30s")
        .link(link)
    )


def rows(
    title: str,
    description: str,
    expr: str,
    columns: Sequence[tuple[str, str]],
    *,
    unit: str,
    span: int = HALF,
    value_name: str = "Value",
) -> table.Panel:
    """The series of `expr` that are there now; `columns`: label and heading, the value comes last."""
    panel = table_panel(title, description, value(expr), span=span)
    return organised(panel, [*columns, ("Value", value_name)]).unit(unit).no_value("nothing")


def organised(panel: table.Panel, columns: Sequence[tuple[str, str]]) -> table.Panel:
    """The panel with these labels as columns and no others."""
    hidden = {"Time": True, "__name__": True, "instance": True, "job": True}
    order = {label: number for number, label in enumerate([*dict(columns), "Value"])}
    options = {"excludeByName": hidden, "indexByName": order, "renameByName": dict(columns)}
    return panel.transformations([model.DataTransformerConfig(id_val="organize", options=options)])
