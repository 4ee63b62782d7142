"""Events that are stored under two days: what the last comparison of each metric found by a sample."""

from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.execute(
        "CREATE TABLE fleetgauge.repeated_event (metric text PRIMARY KEY, day date NOT NULL, sampled bigint NOT NULL,"
        " found bigint NOT NULL, example text, seen_at timestamptz NOT NULL DEFAULT clock_timestamp())"
    )
    op.execute(
        "COMMENT ON TABLE fleetgauge.repeated_event IS 'By metric over documents, of how many events of a UTC day that"
        " were looked at (sampled) the id is stored under another day too (found).'"
    )


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE fleetgauge.repeated_event")
