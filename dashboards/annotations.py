"""What is written over the charts: what may still change, new firmware, numbers that were restated, new processes."""

# ruff: noqa: S608 - queries are put together from this package's constants; nothing that a viewer types is among them

from textwrap import dedent

from dashboards.buckets import BUCKET
from dashboards.frame import of_range
from dashboards.postgres import DATASOURCE_UID, PLUGIN
from dashboards.prometheus import DATASOURCE_UID as PROMETHEUS_UID
from dashboards.prometheus import PLUGIN as PROMETHEUS

Annotation = dict[str, object]
"""Plain JSON, since the SDK's annotation target knows no SQL."""


def provisional_sql(view: str, metric: str) -> str:
    """SQL of the regions to shade: unbroken runs of windows that may still change, those without rows too."""
    sql = f"""
        WITH windows AS (
          SELECT bucket_start, bool_or(provisional) AS provisional FROM {of_range(view)} GROUP BY bucket_start
        ), runs AS (
          SELECT bucket_start, provisional,
            row_number() OVER (ORDER BY bucket_start)
              - row_number() OVER (PARTITION BY provisional ORDER BY bucket_start) AS run
          FROM windows
        )
        SELECT min(bucket_start) AS "time",
          least(max(bucket_start) + fleetgauge.bucket_width('${{{BUCKET}}}'), $__timeTo()::timestamptz) AS "timeEnd",
          'Provisional: these windows may still change' AS "text"
        FROM runs WHERE provisional GROUP BY run
        UNION ALL
        SELECT tail.since, $__timeTo(), 'Provisional: nothing yet'
        FROM metrics.metric CROSS JOIN LATERAL (
          -- The ledger may end at a gap, such as a blocked cell, behind which windows are final again.
          SELECT greatest(final_until, $__timeFrom()::timestamptz,
            max(bucket_start + fleetgauge.bucket_width('${{{BUCKET}}}')) FILTER (WHERE NOT provisional)) AS since
          FROM windows
        ) AS tail
        WHERE name = '{metric}' AND tail.since < $__timeTo()::timestamptz AND NOT EXISTS (
          SELECT FROM windows
          WHERE provisional AND bucket_start + fleetgauge.bucket_width('${{{BUCKET}}}') > tail.since)
        ORDER BY 1"""
    return dedent(sql).strip()


def provisional_annotation(view: str, metric: str) -> Annotation:
    """The shading of windows that may still change. `view`: of the metric's, one with few rows; all are final alike."""
    return _by_sql("Provisional", "rgba(142, 142, 142, 0.6)", provisional_sql(view, metric))


def firmware_annotation() -> Annotation:
    """The day on which a firmware was first seen in commands that was not in the thirty days before the range.

    On the first day of all nothing is new.
    """
    return _by_sql(
        "New firmware",
        "purple",
        """
        WITH seen AS (
          SELECT firmware, min(window_start) AS since FROM metrics.device_command_by_firmware_day
          WHERE window_start BETWEEN $__timeFrom()::timestamptz - interval '30 days' AND $__timeTo()::timestamptz
          GROUP BY firmware
        )
        SELECT since AS "time", 'New firmware ' || firmware AS "text"
        FROM seen WHERE since >= $__timeFrom()::timestamptz AND since > (SELECT min(since) FROM seen) ORDER BY 1""",
    )


def restated_annotation(metric: str) -> Annotation:
    """The hours in which final numbers of the metric changed; off at first, since refunds are many."""
    return _by_sql(
        "Restated",
        "orange",
        f"""
        SELECT date_trunc('hour', restated_at) AS "time",
          count(*) || ' values of ' || '{metric}' || ' restated: ' || string_agg(DISTINCT reason, ', ') AS "text"
        FROM metrics.restatement
        WHERE metric = '{metric}' AND restated_at BETWEEN $__timeFrom() AND $__timeTo()
        GROUP BY 1 ORDER BY 1 LIMIT 200""",
        enable=False,
    )


def deploys_annotation() -> Annotation:
    """When processes of the pipeline, or of services, began: a deploy, or a restart."""
    source = {"type": PROMETHEUS, "uid": PROMETHEUS_UID}
    return {
        "name": "Deploys and restarts",
        "datasource": source,
        "enable": True,
        "hide": False,
        "iconColor": "blue",
        "expr": "changes(process_start_time_seconds[1m]) > 0",
        "step": "60s",
        "titleFormat": "{{job}} began",
        "textFormat": "{{instance}}",
        "useValueForTime": False,
    }


def _by_sql(name: str, colour: str, sql: str, *, enable: bool = True) -> Annotation:
    source = {"type": PLUGIN, "uid": DATASOURCE_UID}
    return {
        "name": name,
        "datasource": source,
        "enable": enable,
        "hide": False,
        "iconColor": colour,
        "target": {
            "refId": name.replace(" ", ""),
            "datasource": source,
            "editorMode": "code",
            "format": "table",
            "rawQuery": True,
            "rawSql": dedent(sql).strip(),
        },
    }
