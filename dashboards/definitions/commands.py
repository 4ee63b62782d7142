"""Commands: which of them fails, for whom, how slowly, and what it costs in cellular traffic."""

# ruff: noqa: S608 - queries are put together from this package's constants; nothing that a viewer types is among them

from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.common import BigValueTextMode, FieldTextAlignment
from grafana_foundation_sdk.models.dashboard import Panel

from dashboards.frame import Filter, filled, final_until, new_dashboard, provisional_annotation, where
from dashboards.panels import (
    EXACT_KRW,
    GREY,
    KRW,
    PROVISIONAL_LINE,
    Limits,
    bars,
    colour,
    coloured,
    filter_link,
    gauge_cell,
    lines,
    number,
    prop,
    ranking,
    stat_tile,
    table_panel,
)
from dashboards.postgres import Sql
from dashboards.views import of_metric

UID = "fleetgauge-commands"
FILTERS = (
    Filter("command_type", "Command", "device_command"),
    Filter("vehicle_model", "Vehicle model", "device_command"),
    Filter("firmware", "Firmware", "device_command"),
    Filter("carrier", "Carrier", "device_command"),
)
VIEW = "metrics.device_command_${grain}"
VIEWS = of_metric("device_command", FILTERS)
BY_COMMAND = VIEWS.needing("command_type")
BY_FIRMWARE = VIEWS.needing("vehicle_model", "firmware")
BY_CARRIER = VIEWS.needing("carrier")
SOURCE = "Source: metrics.device_command_$grain, or its smallest subset that fits."

TRAFFIC_WHERE = where([FILTERS[0], FILTERS[3]])
"""Traffic knows neither model nor firmware, so cost heeds the filters Command and Carrier only."""
COST_VIEW = "metrics.command_cost_${grain}"
COST_SOURCE = "Heeds the filters Command and Carrier. Source: metrics.command_cost_$grain."

FAILURES = Limits(warn=0.05, bad=0.08)
LATENCY = Limits(warn=5_000, bad=15_000)
"""Milliseconds at the 95th percentile; the rider stands beside the vehicle and waits."""

OUTCOMES = (
    ("succeeded", "green"),
    ("failed", "red"),
    ("rejected", "orange"),
    ("timed_out", "purple"),
    ("expired", "#6e4b3a"),
    ("open", GREY),
)


def build() -> tuple[dashboard.Dashboard, Sequence[dict[str, object]]]:
    """The dashboard and its annotations."""
    found = new_dashboard(
        UID,
        "Commands: cost, failure rate, latency",
        "Remote commands to vehicles. A command counts in the window in which it was requested, and its last attempt "
        "decides its outcome. Failure rate = (failed + rejected + timed out + expired) / requested.",
        ["commands"],
        FILTERS,
    )
    for views in (VIEWS, BY_COMMAND, BY_FIRMWARE, BY_CARRIER):
        found = found.with_variable(views.variable())
    rows = (
        ("How often do commands fail?", _failures()),
        ("How long do they take?", _latency()),
        ("What do they cost?", _cost()),
    )
    return filled(found, _tiles(), rows), [provisional_annotation("device_command")]


def _tiles() -> list[Builder[Panel]]:
    return [
        stat_tile(
            "Commands requested",
            f"Commands requested in the time range. {SOURCE}",
            f"""
            SELECT window_start AS "time", sum(requested) AS "requested"
            FROM {VIEWS.rows()} GROUP BY 1 ORDER BY 1""",
            unit="locale",
            decimals=0,
            total=True,
        ),
        stat_tile(
            "Failure rate",
            "(failed + rejected + timed out + expired) / requested, over the whole time range. Commands whose deadline "
            f"has not passed are not failures yet. Amber from 5 %, red from 8 %. {SOURCE}",
            f"""
            SELECT sum(unsuccessful)::float8 / nullif(sum(requested), 0) AS "failure rate"
            FROM {VIEWS.rows()}""",
            unit="percentunit",
            decimals=2,
            limits=FAILURES,
        ),
        stat_tile(
            "Latency p95",
            "95 of 100 succeeded commands were answered within this time after their request. "
            f"Amber from 5 s, red from 15 s. {SOURCE}",
            f"""
            SELECT fleetgauge.quantile(fleetgauge.sketch_merge(latency_ms), 0.95) AS "p95"
            FROM {VIEWS.rows()}""",
            unit="ms",
            decimals=1,
            limits=LATENCY,
        ),
        stat_tile(
            "Traffic cost",
            "Cost of commands, acknowledgements and answers over the air, retries included, in KRW. Unpriced: messages "
            f"without a tariff or a known size, whose cost is missing here. {COST_SOURCE}",
            f"""
            SELECT window_start AS "time", sum(cost_krw) AS "cost", sum(unpriced_messages) AS "unpriced"
            FROM {COST_VIEW} WHERE {TRAFFIC_WHERE} GROUP BY 1 ORDER BY 1""",
            unit=KRW,
            decimals=1,
            total=True,
        )
        .text_mode(BigValueTextMode.VALUE_AND_NAME)
        .override_by_name("unpriced", [*number("locale", 0), *coloured(Limits(warn=1, bad=1))]),
        stat_tile(
            "Cost per 1,000 commands",
            f"Traffic cost, of what has a price, divided by requested commands, times 1,000, in KRW. {COST_SOURCE}",
            f"""
            SELECT 1000 * cost.krw / nullif(commands.requested, 0) AS "cost per 1,000"
            FROM (SELECT sum(cost_krw) AS krw FROM {COST_VIEW} WHERE {TRAFFIC_WHERE}) AS cost,
              (SELECT sum(requested) AS requested FROM {VIEW} WHERE {TRAFFIC_WHERE}) AS commands""",
            unit=EXACT_KRW,
            decimals=0,
        ),
        stat_tile(
            "Final until",
            "Up to this instant every window of the time range is final: all deadlines have passed and all events "
            f"are in. Later windows are shaded and may still change. {SOURCE}",
            final_until("device_command"),
            unit="time:MMM D, HH:mm",
            no_value="not yet",
        ),
    ]


def _failures() -> list[Builder[Panel]]:
    outcomes = bars(
        "Outcomes per $grain",
        "Commands by the window of their request, stacked by outcome. Open: the deadline has not passed yet; such a "
        f"window is provisional. {SOURCE}",
        Sql(
            f"""
            SELECT window_start AS "time",
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
        FROM {BY_COMMAND.rows()} GROUP BY command_type ORDER BY 3 DESC NULLS LAST, 1""",
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
        "Failure rate by firmware and vehicle model",
        "Failure rate of each pair of vehicle model (row) and firmware (column). A red column is a bad firmware, a red "
        f"row a bad model; an empty cell had no commands. {SOURCE}",
        f"""
        SELECT vehicle_model AS "Model", firmware AS "Firmware",
          sum(unsuccessful)::float8 / nullif(sum(requested), 0) AS "Failure rate"
        FROM {BY_FIRMWARE.rows()} GROUP BY 1, 2 ORDER BY 2, 1""",
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
            "Failure rate per $grain",
            "(failed + rejected + timed out + expired) / requested. The dashed end is provisional: commands there may "
            f"still fail. Of attempts: those that came to nothing, retried ones included. The limit is 5 %. {SOURCE}",
            Sql(
                f"""
                WITH windows AS (
                  SELECT window_start, bool_or(provisional) AS provisional,
                    sum(unsuccessful)::float8 / nullif(sum(requested), 0) AS rate,
                    sum(attempts_unsuccessful)::float8 / nullif(sum(attempts_known), 0) AS of_attempts
                  FROM {VIEWS.rows()} GROUP BY 1
                )
                SELECT window_start AS "time",
                  CASE WHEN NOT provisional THEN rate END AS "failure rate",
                  of_attempts AS "of attempts",
                  CASE WHEN provisional OR lead(provisional) OVER (ORDER BY window_start) THEN rate END AS "provisional"
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


def _latency() -> list[Builder[Panel]]:
    by_type = table_panel(
        "Latency by command",
        "p50 to p99: time from request to answer of succeeded commands. Ack: time from sending to the transport's "
        f"acknowledgement. From mergeable sketches (relative error at most 1 %); the slowest first. {SOURCE}",
        f"""
        WITH types AS (
          SELECT command_type, fleetgauge.sketch_merge(latency_ms) AS latency, fleetgauge.sketch_merge(ack_ms) AS ack
          FROM {BY_COMMAND.rows()} GROUP BY 1
        )
        SELECT command_type AS "Command",
          fleetgauge.quantile(latency, 0.5) AS "p50", fleetgauge.quantile(latency, 0.95) AS "p95",
          fleetgauge.quantile(latency, 0.99) AS "p99",
          fleetgauge.quantile(ack, 0.5) AS "ack p50", fleetgauge.quantile(ack, 0.95) AS "ack p95"
        FROM types ORDER BY 3 DESC NULLS LAST, 1""",
    )
    by_type = (
        by_type.span(16)
        .unit("ms")
        .decimals(1)
        .override_by_name("Command", [filter_link(UID, "command_type", "command"), prop("custom.minWidth", 140)])
        .override_by_name("p95", coloured(LATENCY))
    )
    return [
        lines(
            "Latency per $grain",
            "Median and 95th percentile of the time from request to answer of succeeded commands, and 95th percentile "
            f"of the time from sending to the transport's acknowledgement. {SOURCE}",
            Sql(
                f"""
                WITH windows AS (
                  SELECT window_start, fleetgauge.sketch_merge(latency_ms) AS latency,
                    fleetgauge.sketch_merge(ack_ms) AS ack
                  FROM {VIEWS.rows()} GROUP BY 1
                )
                SELECT window_start AS "time",
                  fleetgauge.quantile(latency, 0.5) AS "p50",
                  fleetgauge.quantile(latency, 0.95) AS "p95",
                  fleetgauge.quantile(ack, 0.95) AS "ack p95"
                FROM windows ORDER BY 1""",
                "time_series",
            ),
            unit="ms",
        )
        .override_by_name("p50", [colour("blue")])
        .override_by_name("p95", [colour("purple")])
        .override_by_name("ack p95", [colour(GREY)]),
        lines(
            "Latency p95 per $grain by command",
            f"95th percentile of the time from request to answer of succeeded commands, by command type. "
            f"Logarithmic. {SOURCE}",
            Sql(
                f"""
                SELECT window_start AS "time", command_type AS metric,
                  fleetgauge.quantile(fleetgauge.sketch_merge(latency_ms), 0.95) AS "p95"
                FROM {BY_COMMAND.rows()} GROUP BY 1, 2 ORDER BY 1, 2""",
                "time_series",
            ),
            unit="ms",
            logarithmic=True,
        ),
        by_type,
        ranking(
            "Latency p95 by carrier",
            f"95th percentile of the time from request to answer of succeeded commands, by carrier. {SOURCE}",
            f"""
            SELECT carrier AS "carrier", fleetgauge.quantile(fleetgauge.sketch_merge(latency_ms), 0.95) AS "p95"
            FROM {BY_CARRIER.rows()} GROUP BY 1 ORDER BY 2 DESC NULLS LAST""",
            unit="ms",
            decimals=1,
        ),
    ]


def _cost() -> list[Builder[Panel]]:
    by_type = table_panel(
        "Cost by command",
        "One row a command type, the dearest first. Bytes are payload; billed bytes add protocol overhead and rounding "
        "up to the tariff's step. Per 1,000: KRW for 1,000 requested commands, answers and retries included. "
        f"Unpriced: messages without a tariff or a known size, whose cost is missing here. {COST_SOURCE}",
        f"""
        WITH cost AS (
          SELECT command_type, sum(messages) AS messages, sum(bytes) AS bytes, sum(billed_bytes) AS billed,
            sum(cost_krw) AS krw, sum(unpriced_messages) AS unpriced
          FROM {COST_VIEW} WHERE {TRAFFIC_WHERE} GROUP BY 1
        ), commands AS (
          SELECT command_type, sum(requested) AS requested FROM {VIEW} WHERE {TRAFFIC_WHERE} GROUP BY 1
        )
        SELECT command_type AS "Command", requested AS "Requested", messages AS "Messages", bytes AS "Bytes",
          billed AS "Billed bytes", krw AS "Cost", (krw / nullif(sum(krw) OVER (), 0))::float8 AS "Share of cost",
          1000 * krw / nullif(requested, 0) AS "Per 1,000", unpriced AS "Unpriced"
        FROM cost LEFT JOIN commands USING (command_type) ORDER BY krw DESC NULLS LAST, 1""",
    )
    by_type = (
        by_type.span(16)
        .unit("locale")
        .decimals(0)
        .override_by_name("Command", [filter_link(UID, "command_type", "command"), prop("custom.minWidth", 140)])
        .override_by_name("Bytes", number("decbytes", 1))
        .override_by_name("Billed bytes", number("decbytes", 1))
        .override_by_name("Cost", number(EXACT_KRW, 0))
        .override_by_name("Share of cost", gauge_cell())
        .override_by_name("Per 1,000", number(EXACT_KRW, 0))
        .override_by_name("Unpriced", coloured(Limits(warn=1, bad=1)))
    )
    return [
        bars(
            "Cost per $grain by command",
            f"Traffic cost in KRW by the time of the message, stacked by command type. {COST_SOURCE}",
            Sql(
                f"""
                SELECT window_start AS "time", command_type AS metric, sum(cost_krw) AS "cost"
                FROM {COST_VIEW} WHERE {TRAFFIC_WHERE} GROUP BY 1, 2 ORDER BY 1, 2""",
                "time_series",
            ),
            unit=KRW,
            stacked=True,
        ).span(16),
        ranking(
            "Share of cost by command",
            f"Each command type's part of the traffic cost of the time range. {COST_SOURCE}",
            f"""
            SELECT command_type AS "command", (sum(cost_krw) / nullif(sum(sum(cost_krw)) OVER (), 0))::float8 AS "share"
            FROM {COST_VIEW} WHERE {TRAFFIC_WHERE} GROUP BY 1 ORDER BY 2 DESC NULLS LAST""",
            unit="percentunit",
            decimals=1,
        ).max(1),
        by_type,
        ranking(
            "Cost by carrier",
            f"Traffic cost of the time range in KRW, by the SIM's carrier. {COST_SOURCE}",
            f"""
            SELECT carrier AS "carrier", sum(cost_krw) AS "cost"
            FROM {COST_VIEW} WHERE {TRAFFIC_WHERE} GROUP BY 1 ORDER BY 2 DESC NULLS LAST""",
            unit=EXACT_KRW,
            decimals=0,
        ),
        bars(
            "Bytes per $grain by direction",
            "Payload bytes of commands over the air: downlink to the vehicle, uplink (acks, answers) from it. "
            "Heeds the filters Command and Carrier. Source: metrics.traffic_$grain.",
            Sql(
                f"""
                SELECT window_start AS "time", direction AS metric, sum(bytes) AS "bytes"
                FROM metrics.traffic_${{grain}} WHERE {TRAFFIC_WHERE} GROUP BY 1, 2 ORDER BY 1, 2""",
                "time_series",
            ),
            unit="decbytes",
            stacked=True,
        ),
        lines(
            "Billed bytes for each payload byte, per $grain",
            "How much the tariff's overhead and rounding add: 2 means that twice the payload is paid for. "
            f"Small messages drive it up. {COST_SOURCE}",
            Sql(
                f"""
                SELECT window_start AS "time", command_type AS metric,
                  sum(billed_bytes)::float8 / nullif(sum(bytes), 0) AS "billed"
                FROM {COST_VIEW} WHERE {TRAFFIC_WHERE} GROUP BY 1, 2 ORDER BY 1, 2""",
                "time_series",
            ),
            unit="none",
        ).decimals(2),
    ]
