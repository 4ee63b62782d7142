"""A price change names the run that made it."""

from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.execute("ALTER TABLE fleetgauge.tariff_change ADD COLUMN run_id bigint")
    op.execute("COMMENT ON COLUMN fleetgauge.tariff_change.run_id IS 'The migration that changed it: metrics.run.id.'")


def downgrade() -> None:
    """Drop it."""
    op.execute("ALTER TABLE fleetgauge.tariff_change DROP COLUMN run_id")
