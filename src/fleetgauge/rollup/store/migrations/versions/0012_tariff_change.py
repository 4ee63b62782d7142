"""A price that changes is written down, with what the cost of past days moved by it."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the log."""
    op.execute(
        """
        CREATE TABLE fleetgauge.tariff_change (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            changed_at timestamptz NOT NULL DEFAULT now(),
            carrier text NOT NULL,
            valid_from timestamptz NOT NULL,
            valid_to timestamptz NOT NULL,
            before jsonb,
            after jsonb,
            first_day date,
            last_day date,
            days integer NOT NULL,
            cost_before_krw numeric NOT NULL,
            cost_after_krw numeric NOT NULL,
            unpriced_before bigint NOT NULL,
            unpriced_after bigint NOT NULL
        )
        """
    )
    op.execute(
        """
        COMMENT ON TABLE fleetgauge.tariff_change IS
            'Prices that a migration changed: the stretch for which they differ, the old and the new ones (NULL: no
            tariff), and the days of command_cost_day whose cost moved, with their sums before and after.'
        """
    )


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE fleetgauge.tariff_change")
