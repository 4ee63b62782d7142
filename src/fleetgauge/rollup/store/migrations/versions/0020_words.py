"""Names of the glossary: runs are counted, parts of sketches are merged, values are distinct, rows expire."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

FUNCTIONS = {
    "sketch_fold(fleetgauge.sketch[])": "sketch_merged(fleetgauge.sketch[])",
    "distinct_fold(fleetgauge.distinct_bits[])": "distinct_merged(fleetgauge.distinct_bits[])",
}
"""What ends the aggregates `sketch_merge` and `distinct_merge`, which keep their names; nobody calls it by name."""
COMMENTS = {
    "TABLE fleetgauge.activity": "Counts since the beginning, and the state of the last run.",
    "TABLE fleetgauge.dimension_value": "Distinct values, append-only; what is not here became `other` for good.",
    "COLUMN fleetgauge.ledger.kept_from": "Rows of earlier windows of this grain have expired; NULL: all are kept.",
}


def upgrade() -> None:
    """Rename; views and aggregates go by what a thing is, not by its name."""
    op.execute("ALTER TABLE fleetgauge.activity RENAME COLUMN passes TO runs")
    for old, new in FUNCTIONS.items():
        op.execute(f"ALTER FUNCTION fleetgauge.{old} RENAME TO {new.partition('(')[0]}")
    for what, meaning in COMMENTS.items():
        op.execute(f"COMMENT ON {what} IS '{meaning}'")


def downgrade() -> None:
    """Rename back."""
    for old, new in FUNCTIONS.items():
        op.execute(f"ALTER FUNCTION fleetgauge.{new} RENAME TO {old.partition('(')[0]}")
    op.execute("ALTER TABLE fleetgauge.activity RENAME COLUMN runs TO passes")
