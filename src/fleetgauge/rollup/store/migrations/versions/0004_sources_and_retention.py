"""The ledger knows other cursors than an instant, and what retention has let go."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

COLUMNS = {
    "cursor_token": ("jsonb", "What the source notes beside cursor_at, such as offsets by partition."),
    "kept_from": ("timestamptz", "Rows of earlier windows of this grain are let go; NULL: all are kept."),
    "late_unapplied": (
        "bigint NOT NULL DEFAULT 0",
        "Touched cells that could not be recomputed any more, since their source or their hour is gone.",
    ),
}


def upgrade() -> None:
    """Add the columns."""
    for name, (kind, meaning) in COLUMNS.items():
        op.execute(f"ALTER TABLE fleetgauge.ledger ADD COLUMN {name} {kind}")
        op.execute(f"COMMENT ON COLUMN fleetgauge.ledger.{name} IS '{meaning}'")


def downgrade() -> None:
    """Drop them."""
    for name in COLUMNS:
        op.execute(f"ALTER TABLE fleetgauge.ledger DROP COLUMN {name}")
