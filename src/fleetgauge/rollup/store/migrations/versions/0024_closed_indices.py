"""Which daily indices of commands were closed when they were passed: they are read once they are open."""

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """None was: a run used to refuse."""
    op.execute("ALTER TABLE fleetgauge.command_cursor ADD COLUMN closed text[] NOT NULL DEFAULT '{}'")
    op.execute(
        "COMMENT ON COLUMN fleetgauge.command_cursor.closed IS 'Daily indices that could not be read when the offsets"
        " passed them; they are read as a whole once they are open.'"
    )


def downgrade() -> None:
    """Whoever is closed now is forgotten: rebuild once it is open."""
    op.execute("ALTER TABLE fleetgauge.command_cursor DROP COLUMN closed")
