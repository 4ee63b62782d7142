"""How long changes took until their numbers could be read."""

from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the histogram."""
    op.execute(
        "CREATE TABLE fleetgauge.delay (metric text, at_most_s double precision, seconds double precision NOT NULL,"
        " sum_s double precision NOT NULL, PRIMARY KEY (metric, at_most_s))"
    )
    op.execute(
        "COMMENT ON TABLE fleetgauge.delay IS 'How many seconds of the source''s time took at most so long, and longer"
        " than the bound below, until the changes in them were in the tables.'"
    )


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE fleetgauge.delay")
