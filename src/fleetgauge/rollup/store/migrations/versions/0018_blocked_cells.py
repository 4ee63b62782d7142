"""A broken check blocks the cell that breaks it, not the window; it is tried again less and less often."""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """What is blocked already stays so as a whole window: no dimensions."""
    op.execute(
        """
        ALTER TABLE fleetgauge.blocked
            ADD COLUMN dimensions text[] NOT NULL DEFAULT '{}',
            ADD COLUMN tries integer NOT NULL DEFAULT 1,
            ADD COLUMN retry_at timestamptz NOT NULL DEFAULT '0001-01-01 00:00:00+00',
            DROP CONSTRAINT blocked_pkey,
            ADD PRIMARY KEY (metric, version, window_start, dimensions)
        """
    )
    op.execute(
        """
        COMMENT ON TABLE fleetgauge.blocked IS
            'Cells (minute and dimension values; none: the whole minute) whose new row broke a check. They keep their
            old row, and are tried again from retry_at on, by the source watermark, or when their source rows change.'
        """
    )


def downgrade() -> None:
    """Windows as a whole."""
    op.execute(
        "DELETE FROM fleetgauge.blocked AS a USING fleetgauge.blocked AS b WHERE (a.metric, a.version,"
        " a.window_start) = (b.metric, b.version, b.window_start) AND a.dimensions > b.dimensions"
    )
    op.execute(
        """
        ALTER TABLE fleetgauge.blocked DROP CONSTRAINT blocked_pkey, DROP COLUMN dimensions, DROP COLUMN tries,
            DROP COLUMN retry_at, ADD PRIMARY KEY (metric, version, window_start)
        """
    )
