"""The fold's cursor knows which reading of the topic it follows."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; a fold takes up what is committed from now on, and reads everything once if it is a new one."""
    op.execute("ALTER TABLE fleetgauge.command_fold ADD COLUMN readings jsonb NOT NULL DEFAULT '{}'")
    op.execute(
        "COMMENT ON COLUMN fleetgauge.command_fold.readings IS "
        "'By partition, the way through the topic that offsets belongs to; another one may have stored any offset.'"
    )


def downgrade() -> None:
    """Drop the column."""
    op.execute("ALTER TABLE fleetgauge.command_fold DROP COLUMN readings")
