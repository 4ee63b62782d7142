"""Every run is a row: what it planned, what it wrote, how it ended; restatements name theirs."""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

COLUMNS = {
    "id": ("bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "Number of the run."),
    "metric": ("text NOT NULL", "The metric."),
    "version": ("text", "Version of its definition that was computed."),
    "command": ("text NOT NULL", "What was asked for: run, backfill, reconcile, dimensions expire, retention, …"),
    "grain": ("text", "Finest grain that it may write; coarser ones follow."),
    "started_at": ("timestamptz NOT NULL", "When it began."),
    "ended_at": ("timestamptz", "When it ended; NULL: it has not, or nobody saw it."),
    "outcome": (
        "text NOT NULL CHECK (outcome IN ('running', 'ok', 'deferred', 'blocked', 'failed', 'interrupted'))",
        "ok; deferred: the source had to come further first; blocked: a check withholds cells; failed; interrupted: its"
        " process ended before it; running.",
    ),
    "error_type": ("text", "Class of the error of a failed run."),
    "stages": ("jsonb NOT NULL", "What was planned: by stage and reason how many windows or cells, and their span."),
    "windows": ("bigint NOT NULL DEFAULT 0", "Minutes that were computed as a whole."),
    "cells": ("bigint NOT NULL DEFAULT 0", "Touched cells that were computed."),
    "rows": ("bigint NOT NULL DEFAULT 0", "Rows written, at all grains."),
    "restated": ("bigint NOT NULL DEFAULT 0", "Minutes or cells of them that had been final."),
    "late_unapplied": ("bigint NOT NULL DEFAULT 0", "Changes of frozen windows, counted and not computed."),
    "conflicts": ("bigint NOT NULL DEFAULT 0", "How often the source broke off."),
    "written": (
        "tstzmultirange NOT NULL DEFAULT '{}'",
        "Stretches whose windows it wrote; if they were very many, the whole hours or days around them.",
    ),
}
INTERNAL = {
    "reason": ("text", "Why it was deferred, blocked or failed, in words."),
    "host": ("text", "Where it ran."),
    "pid": ("integer", "Its process there."),
    "airflow_run": ("text", "The DAG and its run, where Airflow ran it."),
}


def upgrade() -> None:
    """Create table and view; a restatement gets the number of its run."""
    columns = ", ".join(f"{name} {kind}" for name, (kind, _) in {**COLUMNS, **INTERNAL}.items())
    op.execute(f"CREATE TABLE fleetgauge.run ({columns})")
    op.execute("CREATE INDEX ON fleetgauge.run (metric, id)")
    op.execute("CREATE INDEX ON fleetgauge.run (id) WHERE outcome = 'running'")
    op.execute(
        "COMMENT ON TABLE fleetgauge.run IS 'Runs of metrics. The process of one that is running holds the advisory"
        " lock (hashtext(''fleetgauge run''), id).'"
    )
    op.execute(f"CREATE VIEW metrics.run AS SELECT {', '.join(COLUMNS)} FROM fleetgauge.run")  # noqa: S608
    op.execute(
        "COMMENT ON VIEW metrics.run IS 'Runs of metrics: what each planned and wrote, and how it ended. Those that did"
        " nothing special are kept for 14 days, the others for 400.'"
    )
    op.execute("ALTER TABLE fleetgauge.restatement ADD COLUMN run_id bigint")
    op.execute("CREATE OR REPLACE VIEW metrics.restatement AS SELECT * FROM fleetgauge.restatement")
    for name, (_, meaning) in {**COLUMNS, **INTERNAL}.items():
        for kind, where in (("fleetgauge", {**COLUMNS, **INTERNAL}), ("metrics", COLUMNS)):
            if name in where:
                op.execute(f"COMMENT ON COLUMN {kind}.run.{name} IS '{meaning}'")
    op.execute("COMMENT ON COLUMN metrics.restatement.run_id IS 'The run that changed it: metrics.run.id.'")
    op.execute("GRANT SELECT ON metrics.run TO fleetgauge_viewer, fleetgauge_writer")


def downgrade() -> None:
    """Drop them."""
    columns = "metric, version, level, grain, window_start, dimensions, measure, before, after, change, cells, reason"
    op.execute("DROP VIEW metrics.run")
    op.execute("DROP VIEW metrics.restatement")
    op.execute("ALTER TABLE fleetgauge.restatement DROP COLUMN run_id")
    op.execute(f"CREATE VIEW metrics.restatement AS SELECT {columns}, restated_at FROM fleetgauge.restatement")  # noqa: S608
    op.execute("GRANT SELECT ON metrics.restatement TO fleetgauge_viewer, fleetgauge_writer")
    op.execute("DROP TABLE fleetgauge.run")
