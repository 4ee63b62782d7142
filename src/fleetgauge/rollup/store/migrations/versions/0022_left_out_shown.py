"""Readers see how many rows of a range are in no number, and why; which ones stays with the operators."""

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Of the version that the views show; rows of no time of a fleet belong to every range."""
    op.execute(
        """
        CREATE FUNCTION fleetgauge.left_out_rows(metric text, since timestamptz, until timestamptz)
        RETURNS TABLE (reason text, row_count bigint)
        LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
        BEGIN ATOMIC
            SELECT l.reason, sum(l.count)::bigint FROM fleetgauge.left_out AS l
            WHERE l.metric = left_out_rows.metric
                AND l.version = (SELECT v.version FROM fleetgauge.metric_version AS v
                    WHERE v.metric = left_out_rows.metric AND v.published_at IS NOT NULL
                    ORDER BY v.published_at DESC LIMIT 1)
                AND (l.window_start = '-infinity' OR
                    (l.window_start >= fleetgauge.window_ceil(left_out_rows.since, 'minute', 'UTC')
                    AND l.window_start < fleetgauge.window_ceil(left_out_rows.until, 'minute', 'UTC')))
            GROUP BY l.reason ORDER BY 2 DESC, 1;
        END
        """
    )
    op.execute(
        "COMMENT ON FUNCTION fleetgauge.left_out_rows IS 'How many source rows of a range are in no number, by reason;"
        " those whose time is no time of a fleet belong to every range.'"
    )


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP FUNCTION fleetgauge.left_out_rows")
