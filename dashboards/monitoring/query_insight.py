"""Query insight: which statements keep the replica busy, over time. For whoever asks why it lags, or what ran at night.

What RDS Performance Insights shows of a database, from pg_stat_statements by the exporter (docs/operating-rollups.md).
"""

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel

from dashboards.cells import WRAPPED, number
from dashboards.frame import filled
from dashboards.monitoring.monitoring_panels import monitoring_dashboard, organised
from dashboards.panels import COLOURS, FULL, HALF, lines, prop, table_panel, tile
from dashboards.prometheus import label_variable, series, value

UID = "fleetgauge-queries"
OF = 'source=~"$source", login=~"$login"'
LOAD = f"fleetgauge_source_statement_load{{{OF}}}"
CALLS = f"fleetgauge_source_statement_calls{{{OF}}}"
SCRAPES = "on (instance) group_left () count_over_time(fleetgauge_exporter_up[1h])"
"""In an hour. A statement is exported while it runs alone, so the mean of its samples would be that of its minutes."""
MOST = COLOURS
"""Statements that a chart tells apart; the table has all that the exporter names."""


def short(expr: str) -> str:
    """The same with the beginning of the statement, for legends; statements that begin alike are one."""
    return f'sum by (login, short) (label_replace({expr}, "short", "$1", "statement", "(.{{0,50}}).*"))'


HEAVIEST = f"topk({MOST}, {short(f'avg_over_time({LOAD}[$__range] @ end())')})"
"""Those that take most over the whole range; the most of each instant would be many more."""


def build() -> dashboard.Dashboard:
    """The dashboard."""
    found = monitoring_dashboard(
        UID,
        "Query insight: what keeps the replica busy",
        "Statements by the time that they take on the replicas, from pg_stat_statements, twice a minute. No data: "
        "production has not run sql/source/04_statements.sql, or the replica does not load the module.",
        ["queries"],
    )
    found = found.with_variable(label_variable("source", "Source", "fleetgauge_source_statement_load"))
    found = found.with_variable(label_variable("login", "Login", "fleetgauge_source_statement_load"))
    return filled(found, (("Now", _tiles()), ("Over time", _course()), ("Statements", [_statements()])))


def _tiles() -> list[Builder[Panel]]:
    return [
        tile(
            "Sessions",
            "Seconds of execution for each second: 1 is one session that is always busy. Near the number of cores the "
            "replica is full.",
            value(f"sum({LOAD})"),
            unit="none",
        ),
        tile(
            "Heaviest one",
            "Busy sessions by the one statement that takes most. See which it is below.",
            value(f"max({LOAD})"),
            unit="none",
        ),
        tile(
            "Calls",
            "Statements that ended, for each second, of the chosen logins.",
            value(f"sum({CALLS})"),
            unit="ops",
            decimals=1,
        ),
        tile(
            "Slowest call",
            "Seconds for each call of the statement whose calls last longest.",
            value(f"max({LOAD} / ({CALLS} > 0))"),
            unit="s",
            decimals=1,
        ),
        tile(
            "Blocks read",
            "Blocks of 8 KiB that were not in the server's own memory: the disk, or the system's cache.",
            value(f"sum(fleetgauge_source_statement_blocks_read{{{OF}}})"),
            unit="iops",
            decimals=0,
        ),
        tile(
            "Temp blocks",
            "Blocks per second of sorts and hashes that did not fit into work_mem.",
            value(f"sum(fleetgauge_source_statement_temp_blocks{{{OF}}})"),
            unit="iops",
            decimals=0,
        ),
    ]


def _course() -> list[Builder[Panel]]:
    return [
        lines(
            "Busy sessions by statement",
            f"The {MOST} statements that take most, stacked. A statement counts when it ends, so a long one shows as a "
            "peak at its end that is higher than the sessions it had.",
            series(f"{short(LOAD)} and {HEAVIEST}", "{{login}}: {{short}}"),
            unit="none",
            stacked=True,
            span=FULL,
        ).height(11),
        lines(
            "Busy sessions by login",
            "Who asks: the pipeline's own login beside the app's and people's. Parts add up to all.",
            series(f"sum by (login) ({LOAD})", "{{login}}"),
            unit="none",
            stacked=True,
            span=HALF,
        ),
        lines(
            "Blocks read per second by login",
            "Blocks that were not in the server's own memory.",
            series(f"sum by (login) (fleetgauge_source_statement_blocks_read{{{OF}}})", "{{login}}"),
            unit="iops",
            stacked=True,
            span=HALF,
        ),
        lines(
            "Seconds for each call",
            f"Of the {MOST} statements that take most in all. One that rises lost its index, or its table grew.",
            series(
                f"{short(LOAD)} / {short(CALLS)} and {HEAVIEST}",
                "{{login}}: {{short}}",
            ),
            unit="s",
            logarithmic=True,
            span=FULL,
        ).height(11),
    ]


def _statements() -> Builder[Panel]:
    columns = (("login", "Login"), ("statement", "Statement"))
    panel = table_panel(
        "Statements, by the time that they take",
        "Busy sessions of each statement over the last hour of the range, the heaviest first. Values are "
        "not in the text: pg_stat_statements replaces them. (other): all that the exporter does not name.",
        value(f"sort_desc(topk(50, sum by (login, statement) (sum_over_time({LOAD}[1h]) / {SCRAPES})))"),
        span=FULL,
    )
    return (
        organised(panel, columns)
        .height(12)
        .unit("none")
        .override_by_name("Login", [prop("custom.width", 150)])
        .override_by_name("Statement", [WRAPPED])
        .override_by_name("Value", [*number("none"), prop("custom.width", 110), prop("displayName", "Busy")])
    )
