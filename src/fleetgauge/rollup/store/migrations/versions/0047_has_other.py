"""Whether a version has ever counted values together in `(other)`: only then can a touched cell be part of one."""

from alembic import op

revision = "0047"
down_revision = "0046"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Versions that are there already may have."""
    op.execute("ALTER TABLE fleetgauge.ledger ADD COLUMN has_other boolean NOT NULL DEFAULT true")
    op.execute("ALTER TABLE fleetgauge.ledger ALTER COLUMN has_other SET DEFAULT false")


def downgrade() -> None:
    """It is looked up each time."""
    op.execute("ALTER TABLE fleetgauge.ledger DROP COLUMN has_other")
