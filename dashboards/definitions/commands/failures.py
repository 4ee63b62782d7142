"""How often commands fail: over time, by outcome, by command, by firmware and model."""

# ruff: noqa: S608 - queries are put together from this package's constants; nothing that a viewer types is among them

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.common import FieldTextAlignment
from grafana_foundation_sdk.models.dashboard import Panel

from dashboards.definitions.commands.reads import BY_COMMAND, BY_FIRMWARE, FAILURES, SOURCE, STRETCH, UID, VIEWS
from dashboards.panels import (
    GREY,
    PROVISIONAL_LINE,
    bars,
    colour,
    coloured,
    filter_link,
    lines,
    number,
    prop,
    table_panel,
)
from dashboards.postgres import Sql

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
        f"Outcomes per $grain{STRETCH}",
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
        f"Failures by command{STRETCH}",
        "One row a command type, the worst first. Click a command to see it alone. Late: a success that came "
        "after the deadline; those commands stay unsuccessful. Rolled back: a success that the device took back later. "
        "Conflicting: attempts whose events disagree. Attempts: sent attempts for each command. "
        f"{SOURCE}",
        f"""
        SELECT command_type AS "Command", sum(requested) AS "Requested",
          sum(unsuccessful)::float8 / nullif(sum(requested), 0) AS "Failure rate",
          sum(failed) AS "Failed", sum(rejected) AS "Rejected", sum(timed_out) AS "Timed out",
          sum(expired) AS "Expired", sum(open) AS "Open", sum(late_success) AS "Late",
          sum(rolled_back) AS "Rolled back", sum(conflicting) AS "Conflicting",
          sum(attempts)::float8 / nullif(sum(requested), 0) AS "Attempts"
        FROM {BY_COMMAND.rows(whole=True)} GROUP BY command_type ORDER BY 3 DESC NULLS LAST, 1""",
    )
    types = (
        types.span(14)
        .height(10)
        .unit("locale")
        .decimals(0)
        .override_by_name("Command", [filter_link(UID, "command_type", "command"), prop("custom.minWidth", 140)])
        .override_by_name("Failure rate", [*number("percentunit", 2), *coloured(FAILURES)])
        .override_by_name("Attempts", number("none", 2))
    )

    matrix = table_panel(
        f"Failure rate by firmware and vehicle model{STRETCH}",
        "Failure rate of each pair of vehicle model (row) and firmware (column). A red column is a bad firmware, a red "
        f"row a bad model; an empty cell had no commands. {SOURCE}",
        f"""
        SELECT vehicle_model AS "Model", firmware AS "Firmware",
          sum(unsuccessful)::float8 / nullif(sum(requested), 0) AS "Failure rate"
        FROM {BY_FIRMWARE.rows(whole=True)} GROUP BY 1, 2 ORDER BY 2, 1""",
    )
    matrix = (
        matrix.span(10)
        .height(10)
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
        .override_by_field_type("number", coloured(FAILURES))
        .override_by_field_type("string", [prop("custom.align", "left"), prop("custom.minWidth", 120)])
    )

    return [
        lines(
            f"Failure rate per $grain{STRETCH}",
            "(failed + rejected + timed out + expired) / requested. The dashed end is provisional: commands there may "
            f"still fail. Of attempts: those that came to nothing, retried ones included. The limit is 5 %. {SOURCE}",
            Sql(
                f"""
                WITH windows AS (
                  SELECT bucket_start, bool_or(provisional) AS provisional,
                    sum(unsuccessful)::float8 / nullif(sum(requested), 0) AS rate,
                    sum(attempts_unsuccessful)::float8 / nullif(sum(attempts_known), 0) AS of_attempts
                  FROM {VIEWS.rows()} GROUP BY 1
                )
                SELECT bucket_start AS "time",
                  CASE WHEN NOT provisional THEN rate END AS "failure rate",
                  of_attempts AS "of attempts",
                  CASE WHEN provisional OR lead(provisional) OVER (ORDER BY bucket_start) THEN rate END AS "provisional"
                FROM windows ORDER BY 1""",
                "time_series",
            ),
            unit="percentunit",
            limit=FAILURES.warn,
        )
        .override_by_name("failure rate", [colour("red")])
        .override_by_name("provisional", [colour("red"), *PROVISIONAL_LINE])
        .override_by_name("of attempts", [colour(GREY)]),
        outcomes,
        types,
        matrix,
    ]
