"""Tariffs in any currency, rounded by message, by SIM and day or by SIM and month, with base fees and allowances."""

from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE fleetgauge.tariff RENAME COLUMN price_krw TO price",
    "ALTER TABLE fleetgauge.tariff DROP CONSTRAINT tariff_rounding_check",
    """
    ALTER TABLE fleetgauge.tariff
        ADD COLUMN price_class text NOT NULL DEFAULT '',
        ADD COLUMN currency text NOT NULL DEFAULT 'KRW' CHECK (currency ~ '^[A-Z]{3}$'),
        ADD COLUMN base_fee numeric NOT NULL DEFAULT 0 CHECK (base_fee >= 0),
        ADD COLUMN allowance_bytes bigint NOT NULL DEFAULT 0 CHECK (allowance_bytes >= 0),
        ADD COLUMN sims integer CHECK (sims >= 0),
        ADD CHECK (rounding IN ('message', 'sim_day', 'sim_month')),
        DROP CONSTRAINT tariff_pkey,
        ADD PRIMARY KEY (carrier, price_class, valid_from)
    """,
    """
    COMMENT ON TABLE fleetgauge.tariff IS
        'Prices of mobile traffic; docs/cost.md says what each column does. Filled from sql/tariffs/ by migrate.'
    """,
    # What was in the table before had no other currency.
    "ALTER TABLE fleetgauge.tariff ALTER COLUMN currency DROP DEFAULT",
    # div() cuts towards zero, which is the ceiling of what is negative; numeric, so that no size overflows.
    """
    CREATE FUNCTION fleetgauge.steps(bytes numeric, step bigint) RETURNS numeric
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN CASE WHEN bytes > 0 THEN div(bytes + step - 1, step) ELSE div(bytes, step) END
    """,
    "COMMENT ON FUNCTION fleetgauge.steps IS 'Whole steps that so many bytes are billed as: ceil(bytes / step).'",
    """
    CREATE FUNCTION fleetgauge.share_of_month(amount numeric, day date) RETURNS numeric
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    BEGIN ATOMIC
        SELECT (div(amount * 1000000000 * m.day, m.days) - div(amount * 1000000000 * (m.day - 1), m.days)) * 0.000000001
        FROM (
            SELECT
                extract(day FROM share_of_month.day) AS day,
                extract(day FROM date_trunc('month', share_of_month.day::timestamp) + interval '1 month - 1 day')
                    AS days
        ) AS m;
    END
    """,
    """
    COMMENT ON FUNCTION fleetgauge.share_of_month IS
        'The part of a monthly amount that a day bears, to nine decimals; the days of a month add up to it exactly.'
    """,
    "ALTER TABLE fleetgauge.tariff_change RENAME COLUMN cost_before_krw TO cost_before",
    "ALTER TABLE fleetgauge.tariff_change RENAME COLUMN cost_after_krw TO cost_after",
    """
    ALTER TABLE fleetgauge.tariff_change
        ADD COLUMN price_class text NOT NULL DEFAULT '', ADD COLUMN currency text NOT NULL DEFAULT 'KRW'
    """,
)


def upgrade() -> None:
    """Widen the tables; prices that are there stay."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Narrow them again; fails while a tariff says what only they can hold."""
    op.execute("ALTER TABLE fleetgauge.tariff_change DROP COLUMN price_class, DROP COLUMN currency")
    op.execute("ALTER TABLE fleetgauge.tariff_change RENAME COLUMN cost_before TO cost_before_krw")
    op.execute("ALTER TABLE fleetgauge.tariff_change RENAME COLUMN cost_after TO cost_after_krw")
    op.execute("DROP FUNCTION fleetgauge.steps, fleetgauge.share_of_month")
    op.execute(
        "ALTER TABLE fleetgauge.tariff DROP CONSTRAINT tariff_pkey, ADD PRIMARY KEY (carrier, valid_from),"
        " DROP COLUMN price_class, DROP COLUMN currency, DROP COLUMN base_fee, DROP COLUMN allowance_bytes,"
        " DROP COLUMN sims, DROP CONSTRAINT tariff_rounding_check,"
        " ADD CONSTRAINT tariff_rounding_check CHECK (rounding = 'message')"
    )
    op.execute("ALTER TABLE fleetgauge.tariff RENAME COLUMN price TO price_krw")
