"""Small sets are counted exactly: their sketches hold a fingerprint of each value instead of registers."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# A sketch is either {fingerprint, …}, rising, all negative and at most 1,024, or {register * 64 + rank, …}, rising,
# one for each register in use (0005). A fingerprint is ~((register * 64 + rank) << 13 | 13 more bits of the hash), so
# registers come of it by a shift. Which form a set has depends on the set alone, but for sketches of before this
# migration: they are registers whatever their size, and make registers of what they are merged with.
# Twin: `fleetgauge.rollup.distinct`.
FOLD = """
CREATE OR REPLACE FUNCTION fleetgauge.distinct_fold(parts fleetgauge.distinct_sketch[])
RETURNS fleetgauge.distinct_sketch
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    together integer[];
BEGIN
    IF cardinality(parts) = 1 THEN
        RETURN parts[1];
    END IF;
    SELECT coalesce(array_agg(DISTINCT entry), '{}') INTO together
    FROM unnest(parts) AS part, unnest(part::integer[]) AS entry;
    IF cardinality(together) = 0 OR cardinality(together) <= 1024 AND together[cardinality(together)] < 0 THEN
        RETURN together;
    END IF;
    RETURN (
        SELECT array_agg(best ORDER BY best)
        FROM (
            SELECT max(register) AS best
            FROM (SELECT CASE WHEN entry < 0 THEN ~entry >> 13 ELSE entry END FROM unnest(together) AS entry)
                AS entries (register)
            GROUP BY register / 64
        ) AS registers
    );
END
$$
"""

# As in 0005, but for the first test: views may call it, so it is replaced and not made anew.
COUNT = """
CREATE OR REPLACE FUNCTION fleetgauge."distinct"(sketch fleetgauge.distinct_sketch) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    m CONSTANT double precision := 4096;
    top CONSTANT integer := 53;
    ranks integer[] := array_fill(0, ARRAY[53]);
    entry integer;
    x double precision;
    power double precision;
    total double precision;
    before double precision;
    z double precision := 0;
BEGIN
    IF cardinality(sketch) = 0 OR sketch[1] < 0 THEN
        RETURN cardinality(sketch);
    END IF;
    FOREACH entry IN ARRAY sketch::integer[] LOOP
        ranks[entry % 64] := ranks[entry % 64] + 1;
    END LOOP;
    x := 1 - ranks[top] / m;  -- tau
    IF x > 0 AND x < 1 THEN
        power := 1;
        total := 1 - x;
        LOOP
            x := sqrt(x);
            before := total;
            power := power * 0.5;
            total := total - (1 - x) * (1 - x) * power;
            EXIT WHEN total = before;
        END LOOP;
        z := m * total / 3;
    END IF;
    FOR rank IN REVERSE top - 1 .. 1 LOOP
        z := 0.5 * (z + ranks[rank]);
    END LOOP;
    x := (m - cardinality(sketch)) / m;  -- sigma
    power := 1;
    total := x;
    LOOP
        EXIT WHEN x < 1e-150;  -- its square would be too small for a double
        x := x * x;
        before := total;
        total := total + x * power;
        power := power + power;
        EXIT WHEN total = before;
    END LOOP;
    RETURN round(m * m / (2 * ln(2::double precision)) / (z + m * total));
END
$$
"""

COMMENT = """
COMMENT ON FUNCTION fleetgauge."distinct" IS
    'How many different values a distinct measure has seen: exact up to 1,024, above with a standard error of 1.6 %;
    of several rows: fleetgauge.distinct(fleetgauge.distinct_merge(measure)).'
"""


def upgrade() -> None:
    """Replace both functions; what is stored stays readable."""
    for statement in (FOLD, COUNT, COMMENT):
        op.execute(statement)


def downgrade() -> None:
    """Refused: the older functions can't read fingerprints."""
    raise NotImplementedError("sketches hold fingerprints now, which the older functions can't read")
