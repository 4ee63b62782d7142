"""Windows that were final and are not for the moment: what changes of them meanwhile is a restatement too."""

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.execute("ALTER TABLE fleetgauge.ledger ADD COLUMN reopened tstzmultirange NOT NULL DEFAULT '{}'")
    op.execute(
        "COMMENT ON COLUMN fleetgauge.ledger.reopened IS 'Windows that were closed once and are not now, since a check"
        " withholds a cell or a clock was taken back; their changes are written down as those of closed ones.'"
    )


def downgrade() -> None:
    """Drop it."""
    op.execute("ALTER TABLE fleetgauge.ledger DROP COLUMN reopened")
