"""When a metric was last compared with its source as a whole: what only a comparison finds is waiting since then."""

from alembic import op

revision = "0048"
down_revision = "0047"
branch_labels = None
depends_on = None

_SINCE = """
UPDATE fleetgauge.activity AS a SET reconciled_at = r.at FROM (
    SELECT metric, max(started_at) AS at FROM fleetgauge.run
    WHERE command = 'reconcile' AND outcome = 'ok' GROUP BY metric
) AS r WHERE r.metric = a.metric
"""


def upgrade() -> None:
    """By the run log, as far as it goes back."""
    op.execute("ALTER TABLE fleetgauge.activity ADD COLUMN reconciled_at timestamptz")
    op.execute(_SINCE)


def downgrade() -> None:
    """Nobody tells that comparisons have stopped."""
    op.execute("ALTER TABLE fleetgauge.activity DROP COLUMN reconciled_at")
