"""How far a comparison with the source is, so that one that was interrupted goes on there."""

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.execute(
        "CREATE TABLE fleetgauge.reconcile_progress (metric text PRIMARY KEY, version text NOT NULL,"
        " span tstzrange NOT NULL, compared tstzmultirange NOT NULL DEFAULT '{}',"
        " started_at timestamptz NOT NULL DEFAULT clock_timestamp())"
    )
    op.execute(
        "COMMENT ON TABLE fleetgauge.reconcile_progress IS 'Comparisons with the source that have not come to their"
        " end: what was asked for, and the hours that were compared.'"
    )


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE fleetgauge.reconcile_progress")
