"""A version says what it cannot compute, so that the views show an older version's rows there."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

COLUMNS = {
    ("ledger", "unavailable"): (
        "tstzmultirange NOT NULL DEFAULT '{}'",
        "Windows that this version cannot compute, since its source is not whole there.",
    ),
    ("metric_version", "definition"): ("jsonb", "The definition; what has its default is left out."),
    ("metric_version", "shape"): ("text", "Hash of the views as they were made last; NULL: not by this version."),
}


def upgrade() -> None:
    """Add the columns."""
    for (table, name), (kind, meaning) in COLUMNS.items():
        op.execute(f"ALTER TABLE fleetgauge.{table} ADD COLUMN {name} {kind}")
        op.execute(f"COMMENT ON COLUMN fleetgauge.{table}.{name} IS '{meaning}'")


def downgrade() -> None:
    """Drop them."""
    for table, name in COLUMNS:
        op.execute(f"ALTER TABLE fleetgauge.{table} DROP COLUMN {name}")
