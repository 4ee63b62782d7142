"""How far the clocks of a run were apart."""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.execute("ALTER TABLE fleetgauge.activity ADD COLUMN clock_skew_s double precision")


def downgrade() -> None:
    """Drop it."""
    op.execute("ALTER TABLE fleetgauge.activity DROP COLUMN clock_skew_s")
