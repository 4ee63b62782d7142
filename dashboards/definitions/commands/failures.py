"""How often commands fail: over time, by outcome, by command, by firmware and model."""

# ruff: noqa: S608 - queries are put together from this package's constants; nothing that a viewer types is among them

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.common import FieldTextAlignment
from grafana_foundation_sdk.models.dashboard import Panel

from dashboards.buckets import EVENTS
from dashboards.cells import number, shaded
from dashboards.definitions.commands.reads import BY_COMMAND, BY_FIRMWARE, COMMAND_CELLS, MOST_FAILURES, SOURCE, VIEWS
from dashboards.panels import FULL, GREY, HALF, bars, colour, prop, table_panel
from dashboards.postgres import Sql
from dashboards.shares import share_chart

OUTCOMES = (
    ("succeeded", "green"),
    ("failed", "red"),
    ("rejected", "orange"),
    ("timed_out", "purple"),
    ("expired", "#6e4b3a"),
    ("open", GREY),
)


def panels() -> list[Builder[Panel]]:
    """The row's panels."""
    outcomes = bars(
        "Outcomes per $bucket",
        "Commands by the window of their request, stacked by outcome. Open: the deadline has not passed yet; such a "
        f"window is provisional. {SOURCE}",
        Sql(
            f"""
            SELECT bucket_start AS "time",
              {", ".join(f'sum({name}) AS "{name.replace("_", " ")}"' for name, _ in OUTCOMES)}
            FROM {VIEWS.rows()} GROUP BY 1 ORDER BY 1""",
            "time_series",
        ),
        unit="locale",
        stacked=True,
    )
    for name, shade in OUTCOMES:
        outcomes = outcomes.override_by_name(name.replace("_", " "), [colour(shade)])

    types = table_panel(
        "Failures by command",
        "One row a command type, the worst first, by what its failure rate is at least with 95 % certainty: of few "
        "commands that is little. Click a command to see it alone. Late: a success that came "
        "after the deadline; those commands stay unsuccessful. Rolled back: a success that the device took back later. "
        "In conflict: attempts whose events disagree. Attempts: sent attempts for each command. "
        f"{SOURCE}",
        Sql(
            f"""
        SELECT command_type AS "Command", sum(requested) AS "Requested",
          sum(unsuccessful)::float8 / nullif(sum(requested), 0) AS "Failure rate",
          (fleetgauge.wilson(sum(unsuccessful), sum(requested))).low AS "At least",
          sum(failed) AS "Failed", sum(rejected) AS "Rejected", sum(timed_out) AS "Timed out",
          sum(expired) AS "Expired", sum(open) AS "Open", sum(late_success) AS "Late",
          sum(rolled_back) AS "Rolled back", sum(conflicting) AS "In conflict",
          sum(attempts)::float8 / nullif(sum(requested), 0) AS "Attempts"
        FROM {BY_COMMAND.rows(per="range")} GROUP BY command_type ORDER BY 4 DESC NULLS LAST, 3 DESC, 1"""
        ),
        span=FULL,
    )
    types = (
        types.height(10)
        .unit("locale")
        .decimals(0)
        .override_by_name("Command", COMMAND_CELLS)
        .override_by_name("Requested", [prop("custom.width", 90)])
        .override_by_name("Failure rate", number("percentunit", 2))
        .override_by_name("At least", [*number("percentunit", 2), *shaded(MOST_FAILURES)])
        .override_by_name("Attempts", number("none", 2))
    )

    matrix = table_panel(
        "Failure rate by firmware and vehicle model",
        "Failure rate of each pair of vehicle model (row) and firmware (column). A dark column is a bad firmware, a "
        f"dark row a bad model; an empty cell had fewer than {EVENTS} commands. {SOURCE}",
        Sql(
            f"""
        SELECT vehicle_model AS "Model", firmware AS "Firmware",
          CASE WHEN sum(requested) >= {EVENTS} THEN sum(unsuccessful)::float8 / nullif(sum(requested), 0) END
            AS "Failure rate"
        FROM {BY_FIRMWARE.rows(per="range")} GROUP BY 1, 2 ORDER BY 2, 1"""
        ),
        span=HALF,
    )
    matrix = (
        matrix.height(7)
        .unit("percentunit")
        .decimals(1)
        .align(FieldTextAlignment.CENTER)
        .with_transformation(
            model.DataTransformerConfig(
                id_val="groupingToMatrix",
                options={
                    "columnField": "Firmware",
                    "rowField": "Model",
                    "valueField": "Failure rate",
                    "emptyValue": "null",
                },
            )
        )
        .override_by_field_type("number", shaded(MOST_FAILURES))
        .override_by_field_type("string", [prop("custom.align", "left"), prop("custom.width", 150)])
    )

    return [
        share_chart(
            "Failure rate per $sample",
            "(failed + rejected + timed out + expired) / requested, with its 95 % interval. The dashed end is "
            f"provisional: commands there may still fail. {SOURCE}",
            VIEWS.rows(per="sample"),
            "sum(unsuccessful)",
            "sum(requested)",
            "failure rate",
            "red",
        ),
        outcomes,
        types,
        matrix,
        share_chart(
            "Attempts in vain per $sample",
            "Share of the attempts that came to nothing, those included that a later attempt made good: what the "
            f"network does, where the failure rate is what the rider sees. {SOURCE}",
            VIEWS.rows(per="sample"),
            "sum(attempts_unsuccessful)",
            "sum(attempts_known)",
            "in vain",
            "orange",
        ).height(7),
    ]
