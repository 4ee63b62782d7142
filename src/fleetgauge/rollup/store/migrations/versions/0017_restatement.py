"""What changed after it was final: before, after, when and why."""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

COLUMNS = {
    "metric": ("text NOT NULL", "The metric."),
    "version": ("text NOT NULL", "Version of its definition that the value belongs to."),
    "level": ("text NOT NULL", "End of the name of the view that shows it: hour, by_zone_hour."),
    "grain": ("text NOT NULL", "minute, hour or day."),
    "window_start": ("timestamptz NOT NULL", "The window, which was final."),
    "dimensions": ("jsonb", "Dimension values of the cell; NULL where many cells are told together."),
    "measure": ("text NOT NULL", "Column that changed."),
    "before": ("text", "Its value before; NULL: none, or no row. A sketch is shown by its count or estimates."),
    "after": ("text", "Its value after; NULL: none, or no row."),
    "change": ("numeric", "After less before, of what adds up (no row is 0); else NULL."),
    "cells": ("bigint NOT NULL DEFAULT 1", "How many cells changed; above 1 before and after are their sums."),
    "reason": ("text NOT NULL", "Why it was computed anew."),
    "restated_at": ("timestamptz NOT NULL DEFAULT clock_timestamp()", "When."),
}


def upgrade() -> None:
    """Create table and view."""
    columns = ", ".join(f"{name} {kind}" for name, (kind, _) in COLUMNS.items())
    op.execute(f"CREATE TABLE fleetgauge.restatement ({columns})")
    op.execute("CREATE INDEX ON fleetgauge.restatement (metric, window_start)")
    op.execute("CREATE INDEX ON fleetgauge.restatement (restated_at)")
    op.execute(
        "COMMENT ON TABLE fleetgauge.restatement IS 'Values that changed though their window was final; written in the"
        " transaction that changed them.'"
    )
    op.execute("CREATE VIEW metrics.restatement AS SELECT * FROM fleetgauge.restatement")
    op.execute(
        "COMMENT ON VIEW metrics.restatement IS 'Values that changed though their window was final: before, after, when"
        " and why. Of the last 400 days.'"
    )
    for name, (_, meaning) in COLUMNS.items():
        op.execute(f"COMMENT ON COLUMN metrics.restatement.{name} IS '{meaning}'")
    op.execute("GRANT SELECT ON metrics.restatement TO fleetgauge_viewer, fleetgauge_writer")


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP VIEW metrics.restatement")
    op.execute("DROP TABLE fleetgauge.restatement")
