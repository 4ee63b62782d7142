"""Bitmaps of sets and billed steps in loops over what is there: charts of a month spent most of their time in them."""

from alembic import op

revision = "0043"
down_revision = "0042"
branch_labels = None
depends_on = None

# The bits of `fleetgauge.rollup.sketches.distinct`, 21 * 2048 of them; a query of all 1,344 words took twenty times as
# long for a hundred values.
BITMAP = """
CREATE OR REPLACE FUNCTION fleetgauge.distinct_bitmap(prints integer[]) RETURNS bit varying
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    bitmap bit varying := repeat('0', 43008)::bit varying;
    print integer;
BEGIN
    FOREACH print IN ARRAY prints LOOP
        bitmap := set_bit(bitmap, print >> 15, 1);
    END LOOP;
    RETURN bitmap;
END
$$
"""
BITMAP_BEFORE = """
CREATE OR REPLACE FUNCTION fleetgauge.distinct_bitmap(prints integer[]) RETURNS bit varying
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT ('x' || string_agg(lpad(to_hex(coalesce(word, 0)), 8, '0'), '' ORDER BY n))::bit varying
    FROM generate_series(0, 1343) AS n
    LEFT JOIN (
        SELECT coupon / 32 AS n, bit_or(1 << (31 - coupon % 32)) AS word
        FROM (SELECT print >> 15 FROM unnest(prints) AS print) AS drawn (coupon)
        GROUP BY 1
    ) AS words USING (n)
$$
"""

# Whole numbers are four times as quick as NUMERIC. No product of the bounds, and no sum of 4,096 of them, reaches 2^63.
_STEPS = """
CREATE OR REPLACE FUNCTION fleetgauge.billed_steps(tally fleetgauge.tally, overhead integer, step integer)
RETURNS numeric LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    half CONSTANT integer := cardinality(tally) / 2;
    steps numeric := 0;
    size numeric;{declared}
BEGIN{quick}
    FOR i IN 1..half LOOP
        size := tally[i]::numeric + overhead;
        steps := steps + tally[half + i] * div(CASE WHEN size > 0 THEN size + step - 1 ELSE size END, step);
    END LOOP;
    RETURN steps;
END
$$
"""
STEPS = _STEPS.format(
    declared="""
    around CONSTANT bigint := overhead::bigint + step - 1;
    whole bigint := 0;
    small boolean := half <= 4096 AND overhead BETWEEN 0 AND 65535;""",
    quick="""
    IF small THEN
        FOR i IN 1..half LOOP
            IF tally[i] NOT BETWEEN 0 AND 1048576 OR tally[half + i] NOT BETWEEN 0 AND 1073741824 THEN
                small := false;
                EXIT;
            END IF;
            whole := whole + tally[half + i] * ((tally[i] + around) / step);
        END LOOP;
        IF small THEN
            RETURN whole;
        END IF;
    END IF;""",
)
STEPS_BEFORE = _STEPS.format(declared="", quick="")


def upgrade() -> None:
    """The same bits and numbers, sooner."""
    for statement in (BITMAP, STEPS):
        op.execute(statement)


def downgrade() -> None:
    """As they were."""
    for statement in (BITMAP_BEFORE, STEPS_BEFORE):
        op.execute(statement)
