"""A dimension without a value and its overflow have labels that no value of the source can be taken for."""

from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

_DISTINCT_VALUES = (
    "COMMENT ON TABLE fleetgauge.dimension_value IS 'Distinct values, append-only; what is not here became `{}` for"
    " good.'"
)


def upgrade() -> None:
    """Versions that are there have the labels of before; later ones say which they have."""
    op.execute("ALTER TABLE fleetgauge.metric_version ADD COLUMN label_format integer NOT NULL DEFAULT 1")
    op.execute(
        "COMMENT ON COLUMN fleetgauge.metric_version.label_format IS 'How its tables write dimensions: 1: NULL as"
        " `unknown`, overflow as `other`, which may be values too; 2: as `(not set)` and `(other)`, which no value is.'"
    )
    op.execute(_DISTINCT_VALUES.format("(other)"))


def downgrade() -> None:
    """Only what says so goes; tables keep their labels."""
    op.execute("ALTER TABLE fleetgauge.metric_version DROP COLUMN label_format")
    op.execute(_DISTINCT_VALUES.format("other"))
