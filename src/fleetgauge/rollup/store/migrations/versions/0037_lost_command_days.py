"""Lost days of commands, rows whose changes are not seen; and queries that merge sketches are sorted, not hashed."""

from alembic import op

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None

_MERGES = {
    "sketch_merge": ("sketch", "sketch_merged"),
    "distinct_merge": ("distinct_bits", "distinct_merged"),
    "tally_merge": ("tally", "tally_collect"),
}

# Each group's state has a memory context of its own, and whoever hashes groups adds up the contexts of all at each new
# one: the more memory there is, the more groups, by their square. Told that a state is large, the planner sorts.
_LARGE = 1_000_000


def upgrade() -> None:
    """Empty until the next run."""
    op.execute("ALTER TABLE fleetgauge.command_cursor ADD COLUMN days jsonb NOT NULL DEFAULT '{}'")
    op.execute(
        "CREATE TABLE fleetgauge.unfollowed (metric text NOT NULL, version text NOT NULL, count bigint NOT NULL,"
        " keys text[] NOT NULL, seen_at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (metric, version),"
        " FOREIGN KEY (metric, version) REFERENCES fleetgauge.metric_version ON DELETE CASCADE)"
    )
    op.execute(
        "COMMENT ON TABLE fleetgauge.unfollowed IS 'Source rows without a time of change: how many, and which; changes"
        " of them are seen by reconcile alone.'"
    )
    _merges(f"SSPACE = {_LARGE}, ")


def downgrade() -> None:
    """Forget it."""
    _merges("")
    op.execute("DROP TABLE fleetgauge.unfollowed")
    op.execute("ALTER TABLE fleetgauge.command_cursor DROP COLUMN days")


def _merges(size: str) -> None:
    for name, (of, fold) in _MERGES.items():
        op.execute(
            f"CREATE OR REPLACE AGGREGATE fleetgauge.{name}(fleetgauge.{of}) (SFUNC = array_append,"
            f" STYPE = fleetgauge.{of}[], {size}FINALFUNC = fleetgauge.{fold}, INITCOND = '{{}}', PARALLEL = SAFE)"
        )
