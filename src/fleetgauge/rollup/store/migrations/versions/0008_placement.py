"""Where rows are that may move."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.execute(
        "CREATE TABLE fleetgauge.placement (metric text NOT NULL, version text NOT NULL, key text NOT NULL,"
        " window_start timestamptz NOT NULL, dimensions text[] NOT NULL, changed_at timestamptz NOT NULL,"
        " PRIMARY KEY (metric, version, key, window_start, dimensions),"
        " FOREIGN KEY (metric, version) REFERENCES fleetgauge.metric_version ON DELETE CASCADE)"
    )
    op.execute(
        "COMMENT ON TABLE fleetgauge.placement IS 'The cells in which each row was read, of metrics whose rows may"
        " change their time or dimensions: a cell that such a row leaves is computed anew too.'"
    )


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE fleetgauge.placement")
