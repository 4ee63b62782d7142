"""Hours of which the source suddenly holds none, or the smaller part, of the facts that were counted."""

from alembic import op

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Empty until a comparison, or a run, finds such an hour."""
    op.execute(
        "CREATE TABLE fleetgauge.emptied (metric text NOT NULL, window_start timestamptz NOT NULL,"
        " window_end timestamptz NOT NULL, counted bigint NOT NULL, left_of_it bigint NOT NULL, accepted text,"
        " seen_at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (metric, window_start))"
    )
    op.execute(
        "COMMENT ON TABLE fleetgauge.emptied IS 'Final hours of which the source holds far fewer facts than were"
        " counted: they keep their numbers. `accepted` says why that is right.'"
    )


def downgrade() -> None:
    """Forget them; the next comparison takes what is left for the truth."""
    op.execute("DROP TABLE fleetgauge.emptied")
