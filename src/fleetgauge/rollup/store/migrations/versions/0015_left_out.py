"""Facts that could not be counted, by reason, with some of their keys."""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.execute(
        "CREATE TABLE fleetgauge.left_out (metric text NOT NULL, version text NOT NULL,"
        " window_start timestamptz NOT NULL, reason text NOT NULL, count bigint NOT NULL, keys text[] NOT NULL,"
        " seen_at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (metric, version, window_start, reason),"
        " FOREIGN KEY (metric, version) REFERENCES fleetgauge.metric_version ON DELETE CASCADE)"
    )
    op.execute(
        "COMMENT ON TABLE fleetgauge.left_out IS 'Facts that are in no number, since a value of theirs is not finite,"
        " too large, or no time of a fleet (then window_start is -infinity): how many, why, and which.'"
    )


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE fleetgauge.left_out")
