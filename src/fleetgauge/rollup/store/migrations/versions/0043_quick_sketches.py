"""Bitmaps of sets and billed steps in loops over what is there: charts of a month spent most of their time in them.

And a suspect whose reason begins with no number is listed, where the whole list failed.
"""

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

_SUSPECTS = """
CREATE OR REPLACE FUNCTION metrics.suspects(as_of date)
RETURNS TABLE (vehicle text, score double precision, probability double precision, days bigint,
    last_stop date, because text, reasons text[], evidence jsonb)
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH own AS (
        SELECT d.* FROM fleetgauge.suspect_vehicle_day AS d
        WHERE d.date > suspects.as_of - 14 AND d.date <= suspects.as_of AND d.date > coalesce(
            (SELECT max(r.repaired_on) FROM fleetgauge.suspect_repair AS r
            WHERE r.vehicle = d.vehicle AND r.repaired_on <= suspects.as_of), '-infinity')
    ), scored AS (
        SELECT o.vehicle, max(o.prior) + sum(o.points) AS score, count(*) AS days, max(o.date) AS last_stop
        FROM own AS o GROUP BY o.vehicle
    )
    SELECT s.vehicle, s.score, 1 / (1 + exp(-s.score)), s.days, s.last_stop, coalesce(
        (SELECT o.date || ' ' || reason FROM own AS o, unnest(o.reasons) AS reason WHERE o.vehicle = s.vehicle
        ORDER BY {weight}, o.date LIMIT 1), ''), ARRAY(
        SELECT o.date || ' ' || reason.said
        FROM own AS o, unnest(o.reasons) WITH ORDINALITY AS reason(said, place)
        WHERE o.vehicle = s.vehicle ORDER BY o.date, reason.place),
        (SELECT coalesce(jsonb_agg(trip.told ORDER BY o.date, trip.place), '[]')
        FROM own AS o, jsonb_array_elements(o.evidence) WITH ORDINALITY AS trip(told, place)
        WHERE o.vehicle = s.vehicle)
    FROM scored AS s
    WHERE s.score >= 0
    ORDER BY s.score DESC, s.vehicle;
END;
"""
SUSPECTS = _SUSPECTS.format(weight="substring(reason FROM '^[-+]?[0-9.]+')::double precision DESC NULLS LAST")
SUSPECTS_BEFORE = _SUSPECTS.format(weight="split_part(reason, ' ', 1)::double precision DESC")


def upgrade() -> None:
    """The same bits and numbers, sooner; and the list."""
    for statement in (BITMAP, STEPS, SUSPECTS):
        op.execute(statement)


def downgrade() -> None:
    """As they were."""
    for statement in (BITMAP_BEFORE, STEPS_BEFORE, SUSPECTS_BEFORE):
        op.execute(statement)
