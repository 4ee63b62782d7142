"""What passes have done, by metric."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

COUNTS = ("passes", "failures", "deferrals", "windows", "cells", "restated", "conflicts", "reconciled", "differed")


def upgrade() -> None:
    """Create the table."""
    counts = ", ".join(f"{name} bigint NOT NULL DEFAULT 0" for name in COUNTS)
    op.execute(
        f"CREATE TABLE fleetgauge.activity (metric text PRIMARY KEY, {counts},"
        " source_seconds double precision NOT NULL DEFAULT 0, source_lag_s double precision, error text,"
        " deferred text, updated_at timestamptz NOT NULL DEFAULT clock_timestamp())"
    )
    op.execute(
        "COMMENT ON TABLE fleetgauge.activity IS 'Counts since the beginning, and the state of the last pass: passes"
        " are short, so what watches them reads here.'"
    )


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE fleetgauge.activity")
