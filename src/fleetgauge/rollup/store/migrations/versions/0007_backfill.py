"""What operators asked to be computed anew, and how far that is."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.execute(
        """
        CREATE TABLE fleetgauge.backfill (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            metric text NOT NULL,
            version text NOT NULL,
            grain text NOT NULL CHECK (grain IN ('minute', 'hour', 'day')),
            span tstzrange NOT NULL,
            reason text NOT NULL,
            who text NOT NULL,
            requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            done tstzmultirange NOT NULL DEFAULT '{}',
            status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'failed', 'finished')),
            error text,
            finished_at timestamptz
        )
        """
    )
    op.execute(
        "COMMENT ON TABLE fleetgauge.backfill IS 'Stretches computed anew on request, with the reason. One that is not"
        " finished is taken up again by the same request.'"
    )


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE fleetgauge.backfill")
