"""Infrastructure: will a disk fill, does a machine or a server lack something? For on-call engineers.

Reads what others export: node_exporter, cAdvisor, postgres_exporter, elasticsearch_exporter, kafka_exporter.
"""

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel

from dashboards.cells import worded
from dashboards.frame import filled
from dashboards.monitoring.monitoring_panels import monitoring_dashboard, rows
from dashboards.panels import AMBER, GREEN, HOURS, RED, SECONDS, THIRD, Limits, lines, tile
from dashboards.prometheus import label_variable, series, value

UID = "fleetgauge-infrastructure"
MACHINE = 'instance=~"$instance"'
NO_MEMORY = 'fstype!~"tmpfs|overlay|squashfs|ramfs"'
DISK = f"{MACHINE}, {NO_MEMORY}"
FREE = f"node_filesystem_avail_bytes{{{DISK}}}"
LEFT = f"{FREE} / node_filesystem_size_bytes{{{DISK}}}"
EVERY = "[$__rate_interval]"
CONTAINER = 'name!=""'
NEVER = 8760
"""Hours: a disk that will be full in a year fills by no trend that one could see."""
NONE_FILLS = worded({(NEVER, NEVER): ("none fills", GREEN)})


def hours_left(disk: str = DISK) -> str:
    """PromQL, by the trend of six hours: long enough for a nightly job, short enough to warn a day ahead."""
    free = f"node_filesystem_avail_bytes{{{disk or NO_MEMORY}}}"
    return f"{free} / clamp_min(-deriv({free}[6h]), 1e-9) / 3600"


def first_full(disk: str = DISK) -> str:
    """PromQL of the hours until the first disk is full: `NEVER` where none fills, nothing where no disk is known."""
    return f"min(clamp_max({hours_left(disk)}, {NEVER}))"


def build() -> dashboard.Dashboard:
    """The dashboard."""
    found = monitoring_dashboard(
        UID,
        "Infrastructure: disks, machines, servers",
        "Whether a disk will fill, and what machines, containers, Postgres, Kafka and Elasticsearch lack. Panels say "
        "no data where an exporter is not scraped.",
        ["infrastructure"],
    )
    found = found.with_variable(label_variable("instance", "Machine", "node_uname_info"))
    sections = (
        ("Now", _tiles()),
        ("Disks", _disks()),
        ("Machines and containers", _machines()),
        ("Postgres", _postgres()),
        ("Kafka and Elasticsearch", _servers()),
    )
    return filled(found, sections)


def _tiles() -> list[Builder[Panel]]:
    return [
        tile(
            "Disk full",
            "By the trend of the last six hours: the disk that fills first. An alert fires below 24 hours.",
            value(first_full()),
            unit=HOURS,
            decimals=0,
            limits=Limits(warn=24, bad=24, rising=False),
            no_value="not known",
        ).override_by_field_type("number", [NONE_FILLS]),
        tile(
            "Disk free",
            "Free space in percent of its size, of the disk that has least.",
            value(f"min({LEFT})"),
            unit="percentunit",
            decimals=0,
        ),
        tile(
            "Memory",
            "Of the machine that has least memory to spare: in use, without what the kernel can give back.",
            value(f"max(1 - node_memory_MemAvailable_bytes{{{MACHINE}}} / node_memory_MemTotal_bytes{{{MACHINE}}})"),
            unit="percentunit",
            decimals=0,
        ),
        tile(
            "Restarts",
            "Containers that were started within the last day, more than once each counted so.",
            value(f"sum(changes(container_start_time_seconds{{{CONTAINER}}}[24h]))"),
        ),
        tile(
            "Not scraped",
            "Scrape targets that did not answer Prometheus at the last try.",
            value("count(up == 0) or vector(0)"),
            unit="none",
            limits=Limits(warn=1, bad=1),
        ),
        tile(
            "Elasticsearch",
            "Health of the cluster. Yellow: copies are missing; red: data cannot be read.",
            value(
                'max(elasticsearch_cluster_health_status{color="red"} * 2'
                ' or elasticsearch_cluster_health_status{color="yellow"})'
            ),
            unit="none",
            limits=Limits(warn=1, bad=2),
        ).override_by_field_type(
            "number", [worded({(0, 0): ("green", GREEN), (1, 1): ("yellow", AMBER), (2, 2): ("red", RED)})]
        ),
    ]


def _disks() -> list[Builder[Panel]]:
    return [
        lines(
            "Free space, and where it will be in a day",
            "Free space in percent, and where the trend of six hours takes it within 24 hours: at 0 the disk is full.",
            series(LEFT, "{{instance}} {{mountpoint}}"),
            series(
                f"clamp_min(predict_linear(node_filesystem_avail_bytes{{{DISK}}}[6h], 86400), 0)"
                f" / node_filesystem_size_bytes{{{DISK}}}",
                "{{instance}} {{mountpoint}}, in 24 h",
                "B",
            ),
            unit="percentunit",
            limit=0.1,
            ceiling=1,
        ),
        rows(
            "Hours until full",
            "By the trend of six hours; only disks that fill within a week.",
            f"sort({hours_left()} < 168)",
            [("instance", "Machine"), ("mountpoint", "Mounted at")],
            unit=HOURS,
            value_name="Full in",
        ),
    ]


def _machines() -> list[Builder[Panel]]:
    return [
        lines(
            "Processor in use, by machine",
            "Share of all cores that was not idle: what is left is what a peak may take.",
            series(
                f'1 - avg by (instance) (rate(node_cpu_seconds_total{{{MACHINE}, mode="idle"}}{EVERY}))', "{{instance}}"
            ),
            unit="percentunit",
            ceiling=1,
            span=THIRD,
        ),
        lines(
            "Processor time of processes",
            "Cores in use by the busiest process of each job, as it counts itself. Beside its container's: more there "
            "is what it has started.",
            series(f"max by (job) (rate(process_cpu_seconds_total{EVERY}))", "{{job}}"),
            unit="none",
            span=THIRD,
        ),
        lines(
            "Processor time of containers",
            "Cores in use by each container, of the machine's.",
            series(f"sum by (name) (rate(container_cpu_usage_seconds_total{{{CONTAINER}}}{EVERY}))", "{{name}}"),
            unit="none",
            span=THIRD,
        ),
        lines(
            "Memory in use, by machine",
            "Share of the memory that the kernel cannot give back.",
            series(
                f"1 - node_memory_MemAvailable_bytes{{{MACHINE}}} / node_memory_MemTotal_bytes{{{MACHINE}}}",
                "{{instance}}",
            ),
            unit="percentunit",
            ceiling=1,
            span=THIRD,
        ),
        lines(
            "Memory of processes",
            "Resident memory of the largest process of each job, as it says itself: beside its container's, the "
            "difference is page cache.",
            series("max by (job) (process_resident_memory_bytes)", "{{job}}"),
            unit="bytes",
            span=THIRD,
        ),
        lines(
            "Memory of containers",
            "Working set, by which a container is killed when it reaches its limit.",
            series(f"sum by (name) (container_memory_working_set_bytes{{{CONTAINER}}})", "{{name}}"),
            unit="bytes",
            span=THIRD,
        ),
        lines(
            "Killed for lack of memory, per hour",
            "Times that the kernel killed a process of a container which reached its memory limit.",
            series(f"sum by (name) (increase(container_oom_events_total{{{CONTAINER}}}[1h]))", "{{name}}"),
            unit="locale",
            span=THIRD,
        ),
        lines(
            "Starts of processes, per hour",
            "A process that starts again and again is in a crash loop: its log says why.",
            series("sum by (job) (changes(process_start_time_seconds[1h]))", "{{job}}"),
            unit="locale",
            span=THIRD,
        ),
        lines(
            "Starts of containers, per hour",
            "The same of containers, whatever runs in them.",
            series(f"sum by (name) (changes(container_start_time_seconds{{{CONTAINER}}}[1h]))", "{{name}}"),
            unit="locale",
            span=THIRD,
        ),
    ]


def _postgres() -> list[Builder[Panel]]:
    return [
        lines(
            "Connections",
            "Sessions of all databases of a server, and the most that it allows.",
            series("sum by (instance) (pg_stat_database_numbackends)", "{{instance}}"),
            series("max by (instance) (pg_settings_max_connections)", "{{instance}}, allowed", "B"),
            unit="locale",
            span=THIRD,
        ),
        lines(
            "Blocks read and found",
            "Per second: reads that had to ask the operating system, and those that the server's own memory answered.",
            series(f"sum by (instance) (rate(pg_stat_database_blks_read{EVERY}))", "{{instance}}, read"),
            series(f"sum by (instance) (rate(pg_stat_database_blks_hit{EVERY}))", "{{instance}}, in memory", "B"),
            unit="iops",
            span=THIRD,
        ),
        lines(
            "Disk reads and writes",
            "Operations per second of all disks, by machine: what the blocks that Postgres did not find in memory "
            "come to.",
            series(
                f"sum by (instance) (rate(node_disk_reads_completed_total{{{MACHINE}}}{EVERY}))", "{{instance}}, read"
            ),
            series(
                f"sum by (instance) (rate(node_disk_writes_completed_total{{{MACHINE}}}{EVERY}))",
                "{{instance}}, written",
                "B",
            ),
            unit="iops",
            span=THIRD,
        ),
        lines(
            "Oldest transaction",
            "How long the longest transaction of each server has been open. It holds back vacuum, and what is final.",
            series("max by (instance) (pg_stat_activity_max_tx_duration)", "{{instance}}"),
            unit=SECONDS,
            span=THIRD,
        ),
        lines(
            "Replica behind",
            "How long ago the last transaction was replayed. An idle primary makes it grow too.",
            series("max by (instance) (pg_replication_lag_seconds)", "{{instance}}"),
            unit=SECONDS,
            span=THIRD,
        ),
        lines(
            "Transactions per second",
            "Committed and rolled back, of all databases of a server.",
            series(f"sum by (instance) (rate(pg_stat_database_xact_commit{EVERY}))", "{{instance}}, committed"),
            series(
                f"sum by (instance) (rate(pg_stat_database_xact_rollback{EVERY}))", "{{instance}}, rolled back", "B"
            ),
            unit="ops",
            span=THIRD,
        ),
    ]


def _servers() -> list[Builder[Panel]]:
    return [
        lines(
            "Kafka: records behind, by group",
            "As the broker sees it: also of groups that are not running.",
            series("sum by (consumergroup, topic) (kafka_consumergroup_lag)", "{{consumergroup}} {{topic}}"),
            unit="locale",
            span=THIRD,
        ),
        lines(
            "Kafka: lacking a copy",
            "Under-replicated partitions by topic. With one broker there is nothing to lack.",
            series("sum by (topic) (kafka_topic_partition_under_replicated_partition)", "{{topic}}"),
            unit="locale",
            span=THIRD,
        ),
        lines(
            "Kafka: records appended",
            "Records per second by topic: what ingest has to keep up with.",
            series(f"sum by (topic) (rate(kafka_topic_partition_current_offset{EVERY}))", "{{topic}}"),
            unit="recps",
            span=THIRD,
        ),
        lines(
            "Elasticsearch: indexing",
            "Documents per second by node, copies included: a document with one copy counts twice.",
            series(f"sum by (name) (rate(elasticsearch_indices_indexing_index_total{EVERY}))", "{{name}}"),
            unit="wps",
            span=THIRD,
        ),
        lines(
            "Elasticsearch: rejected writes",
            "Writes per second, since the queue for them was full: ingest waits and tries again. For long: more nodes, "
            "or fewer consumers.",
            series(
                f'sum by (name) (rate(elasticsearch_thread_pool_rejected_count{{type="write"}}{EVERY}))', "{{name}}"
            ),
            unit="wps",
            trouble=True,
            span=THIRD,
        ),
        lines(
            "Elasticsearch: heap in use",
            "Share of the heap. Above 85 % for long it collects garbage instead of writing.",
            series(
                'elasticsearch_jvm_memory_used_bytes{area="heap"} / elasticsearch_jvm_memory_max_bytes{area="heap"}',
                "{{name}}",
            ),
            unit="percentunit",
            limit=0.85,
            ceiling=1,
            span=THIRD,
        ),
    ]
