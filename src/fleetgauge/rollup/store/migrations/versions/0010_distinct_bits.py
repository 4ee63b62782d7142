"""Sketches of sets that are exact when small, and merge by OR when large."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# A sketch is either up to 128 fingerprints of 32 bits, rising, or a bitmap of 21 * 2048 coupons; which one depends on
# the set alone. Papers and formulas: `fleetgauge.rollup.sketches.distinct`, the twin. The functions of 0005 stay for
# metric versions of before, whose sketches are arrays; a definition with a `distinct` measure has a new version by
# this.
DOMAIN = "CREATE DOMAIN fleetgauge.distinct_bits AS bit varying"

BITMAP = """
CREATE FUNCTION fleetgauge.distinct_bitmap(prints integer[]) RETURNS bit varying
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

FOLD = """
CREATE FUNCTION fleetgauge.distinct_fold(parts fleetgauge.distinct_bits[]) RETURNS fleetgauge.distinct_bits
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    bitmap bit varying;
    prints integer[];
    own bit varying;
BEGIN
    IF cardinality(parts) = 1 THEN
        RETURN parts[1];
    END IF;
    SELECT bit_or(part) INTO bitmap FROM unnest(parts) AS part WHERE length(part) > 4096;
    prints := ARRAY(
        SELECT DISTINCT substring(part FROM i FOR 32)::bit(32)::integer
        FROM unnest(parts) AS part, generate_series(1, length(part), 32) AS i
        WHERE length(part) <= 4096
    );
    IF bitmap IS NULL AND cardinality(prints) <= 128 THEN
        RETURN (
            SELECT ('x' || coalesce(string_agg(lpad(to_hex(print), 8, '0'), '' ORDER BY print), ''))::bit varying
            FROM unnest(prints) AS print
        );
    END IF;
    IF cardinality(prints) > 0 THEN
        own := fleetgauge.distinct_bitmap(prints);
        bitmap := coalesce(bitmap | own, own);
    END IF;
    RETURN bitmap;
END
$$
"""

MERGE = """
CREATE AGGREGATE fleetgauge.distinct_merge(fleetgauge.distinct_bits) (
    SFUNC = array_append, STYPE = fleetgauge.distinct_bits[], FINALFUNC = fleetgauge.distinct_fold,
    INITCOND = '{}', PARALLEL = SAFE
)
"""

# Each term once, for a loop over them would take ten times as long.
_SHARES = [f"x / {2 ** min(k, 20)}" for k in range(1, 22)]

COUNT = f"""
CREATE FUNCTION fleetgauge."distinct"(sketch fleetgauge.distinct_bits) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    drawn double precision;
    x double precision;
    step double precision;
BEGIN
    IF length(sketch) <= 4096 THEN
        RETURN length(sketch) / 32;
    END IF;
    drawn := bit_count(sketch) / 2048.0;
    IF drawn >= 21 THEN
        RETURN 2048::bigint << 21;  -- all of them: so many or more
    END IF;
    x := CASE WHEN drawn < 1.5 THEN drawn * (1 + drawn / 6)
         ELSE 2 ^ (drawn - (0.5772156649015329::double precision / ln(2::double precision) - 0.5)) END;
    FOR i IN 1 .. 20 LOOP
        step := (21 - drawn - ({" + ".join(f"exp(-{share})" for share in _SHARES)}))
            / ({" + ".join(f"{share} * exp(-{share})" for share in _SHARES)});
        x := x * exp(-step);
        EXIT WHEN abs(step) < 1e-10;
    END LOOP;
    RETURN round(x * 2048);
END
$$
"""

COMMENT = """
COMMENT ON FUNCTION fleetgauge."distinct"(fleetgauge.distinct_bits) IS
    'How many different values a distinct measure has seen: exact up to 128, above with a standard error of 1.5 %; of
    several rows: fleetgauge.distinct(fleetgauge.distinct_merge(measure)).'
"""


def upgrade() -> None:
    """Create them."""
    for statement in (DOMAIN, BITMAP, FOLD, MERGE, COUNT, COMMENT):
        op.execute(statement)


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP DOMAIN fleetgauge.distinct_bits CASCADE")
    op.execute("DROP FUNCTION fleetgauge.distinct_bitmap")
