"""Services: rate, errors and duration of requests, what they call, and what they run on. For on-call engineers.

One dashboard for both worlds: names of prometheus-fastapi-instrumentator, and of Micrometer (Spring Boot). Each query
takes whichever a service exposes.
"""

from grafana_foundation_sdk.builders import dashboard, logs, loki
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import LogsSortOrder
from grafana_foundation_sdk.models.dashboard import DataSourceRef, Panel

from dashboards.frame import filled
from dashboards.monitoring.monitoring_panels import monitoring_dashboard
from dashboards.panels import COLOURS, FULL, THIRD, Limits, lines, tile
from dashboards.prometheus import label_variable, series, value

UID = "fleetgauge-application"
JOB = 'job=~"$job"'
EVERY = "[$__rate_interval]"
LOKI = DataSourceRef(type_val="loki", uid="fleetgauge-loki")


def build() -> dashboard.Dashboard:
    """The dashboard."""
    found = monitoring_dashboard(
        UID,
        "Services: requests, errors, duration",
        "Requests that services answer and make, by the names of prometheus-fastapi-instrumentator or of Micrometer; "
        "with the JVM and its connection pools where there is one.",
        ["application"],
    )
    services = '{__name__=~"http_requests_total|http_server_requests_seconds_count"}'
    found = found.with_variable(label_variable("job", "Service", services))
    sections = (
        ("Now", _tiles()),
        ("Requests", _requests()),
        ("Calls of other services", _calls()),
        ("JVM and connection pools", _jvm()),
    )
    return filled(found, sections).with_row(dashboard.Row("Error logs").collapsed(True).with_panel(_logs()))


def _logs() -> logs.Panel:
    """In a row that is closed at first, so that nothing is asked where there is no Loki."""
    return (
        logs.Panel()
        .title("Errors in the logs")
        .description(
            "Lines of level error or worse of the chosen services, the newest first. A request id finds all lines of "
            "one request: open a line, and filter by it. An error in place of lines: FLEETGAUGE_LOKI_URL leads to no "
            "Loki (docs/logs.md)."
        )
        .datasource(LOKI)
        .with_target(
            loki.Dataquery()
            .expr('{job=~"$job"} | json | level=~"(?i)error|critical|fatal"')
            .query_type("range")
            .max_lines(200)
            .ref_id("A")
            .datasource(LOKI)
        )
        .show_time(True)
        .wrap_log_message(True)
        .enable_log_details(True)
        .sort_order(LogsSortOrder.DESCENDING)
        .span(FULL)
        .height(12)
    )


def requests(by: str, status: str = ".*", window: str = EVERY) -> str:
    """Requests per second by some labels, of either naming; `status`: a pattern."""
    counted = [
        f'sum by ({by}) (rate({name}{{{JOB}, status=~"{status}"}}{window}))'
        for name in ("http_requests_total", "http_server_requests_seconds_count")
    ]
    return " or ".join(counted)


def by_route(status: str, window: str = EVERY) -> str:
    """The same by route, which one calls `handler` and the other `uri`."""
    fastapi = f'sum by (handler) (rate(http_requests_total{{{JOB}, status=~"{status}"}}{window}))'
    micrometer = f'rate(http_server_requests_seconds_count{{{JOB}, status=~"{status}"}}{window})'
    return f'{fastapi} or sum by (handler) (label_replace({micrometer}, "handler", "$1", "uri", "(.*)"))'


def busiest(status: str) -> str:
    """Of the routes that have most over the range; the most of each instant would be many more."""
    return f"({by_route(status)}) and topk({COLOURS}, {by_route(status, '[$__range] @ end()')})"


def latency(share: float, by: str = "") -> str:
    """A quantile of the duration of requests, of either naming."""
    labels = f"le, {by}" if by else "le"
    counted = [
        f"sum by ({labels}) (rate({name}{{{JOB}}}{EVERY}))"
        for name in ("http_request_duration_seconds_bucket", "http_server_requests_seconds_bucket")
    ]
    return f"histogram_quantile({share}, {' or '.join(counted)})"


def calls(outcome: str, by: str = "target") -> str:
    """Calls per second of others, of either naming; `outcome`: a matcher for each of them."""
    ours, micrometer = {
        "all": ("", ""),
        "failed": (', outcome!="success"', ', outcome!~"SUCCESS|REDIRECTION|INFORMATIONAL"'),
    }[outcome]
    spring = f"rate(http_client_requests_seconds_count{{{JOB}{micrometer}}}{EVERY})"
    return (
        f"sum by ({by}) (rate(external_requests_total{{{JOB}{ours}}}{EVERY})) "
        f'or sum by ({by}) (label_replace({spring}, "target", "$1", "client_name", "(.*)"))'
    )


def _tiles() -> list[Builder[Panel]]:
    window = "[5m]"
    total = f"sum({requests('job', window=window)})"
    return [
        tile(
            "Requests per second",
            "Requests that the chosen services answered, over five minutes.",
            value(total),
            unit="reqps",
            span=6,
        ),
        tile(
            "Server errors",
            "Answers 5xx in percent of all, over five minutes. An alert fires above 1 % for three minutes.",
            value(f"(sum({requests('job', '5..', window)}) or vector(0)) / {total}"),
            unit="percentunit",
            decimals=2,
            limits=Limits(warn=0.01, bad=0.01),
            span=6,
        ),
        tile(
            "Errors",
            "Answers 4xx and 5xx in percent of all, over five minutes. An alert fires above 5 %.",
            value(f"(sum({requests('job', '[45]..', window)}) or vector(0)) / {total}"),
            unit="percentunit",
            decimals=2,
            limits=Limits(warn=0.05, bad=0.05),
            span=6,
        ),
        tile(
            "Duration p95",
            "95 of 100 requests are answered within this time. An alert fires above a second for three minutes.",
            value(latency(0.95)),
            unit="s",
            limits=Limits(warn=1, bad=1),
            span=6,
        ),
    ]


def _requests() -> list[Builder[Panel]]:
    return [
        lines(
            "Requests per second by service",
            "All requests that were answered, whatever the answer.",
            series(requests("job"), "{{job}}"),
            unit="reqps",
            stacked=True,
        ),
        lines(
            "Errors by service",
            "Answers 4xx and 5xx in percent of all answers of the service; dashed where the alert on errors fires.",
            series(f"({requests('job', '[45]..')}) / ({requests('job')})", "{{job}}"),
            unit="percentunit",
            trouble=True,
            limit=0.05,
        ),
        lines(
            "Duration",
            "Median, 95th and 99th percentile over the chosen services; dashed where the alert on p95 fires.",
            series(latency(0.5), "median"),
            series(latency(0.95), "p95", "B"),
            series(latency(0.99), "p99", "C"),
            unit="s",
            limit=1,
            span=THIRD,
        ),
        lines(
            "Requests per second by route",
            f"By the route's pattern, not by its parameters: the {COLOURS} that are asked most.",
            series(busiest(".*"), "{{handler}}"),
            unit="reqps",
            span=THIRD,
        ),
        lines(
            "Server errors per second by route",
            f"Answers 5xx: the {COLOURS} routes that have most of them.",
            series(busiest("5.."), "{{handler}}"),
            unit="reqps",
            trouble=True,
            span=THIRD,
        ),
    ]


def _calls() -> list[Builder[Panel]]:
    return [
        lines(
            "Calls per second by target",
            "Requests that the services made of others: payment, maps, messaging.",
            series(calls("all"), "{{target}}"),
            unit="reqps",
            stacked=True,
        ),
        lines(
            "Failed calls by target",
            "In percent of all calls of that target; dashed where the alert on external failures fires.",
            series(f"({calls('failed')}) / ({calls('all')})", "{{target}}"),
            unit="percentunit",
            trouble=True,
            limit=0.15,
        ),
    ]


def _jvm() -> list[Builder[Panel]]:
    return [
        lines(
            "Heap in use",
            "Share of the heap's limit, by service and instance. Near 1 for long: garbage collection takes the time.",
            series(
                f'sum by (job, instance) (jvm_memory_used_bytes{{{JOB}, area="heap"}})'
                f' / sum by (job, instance) (jvm_memory_max_bytes{{{JOB}, area="heap"}} > 0)',
                "{{job}} {{instance}}",
            ),
            unit="percentunit",
            limit=0.9,
            ceiling=1,
            span=THIRD,
        ),
        lines(
            "Garbage collection",
            "Share of time in which the JVM stood still to collect garbage.",
            series(f"sum by (job, instance) (rate(jvm_gc_pause_seconds_sum{{{JOB}}}{EVERY}))", "{{job}} {{instance}}"),
            unit="percentunit",
            span=THIRD,
        ),
        lines(
            "Connection pools",
            "Connections in use, and threads that wait for one: then the pool is too small, or queries are too slow.",
            series(
                f"sum by (job, pool) (hikaricp_connections_active{{{JOB}}}) or sum by (job, pool) (label_replace("
                f'db_client_connections_usage{{{JOB}, state="used"}}, "pool", "$1", "pool_name", "(.*)"))',
                "{{job}} {{pool}}, in use",
            ),
            series(f"sum by (job, pool) (hikaricp_connections_pending{{{JOB}}})", "{{job}} {{pool}}, waiting", "B"),
            unit="locale",
            span=THIRD,
        ),
    ]
