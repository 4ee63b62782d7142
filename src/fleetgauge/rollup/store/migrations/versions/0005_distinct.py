"""Functions that merge and read sketches of sets."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# A sketch is {entry, …}, rising, one for each register in use: register * 64 + rank. HyperLogLog (Flajolet, Fusy,
# Gandouet, Meunier 2007) with 4096 registers, read by Ertl's improved raw estimator (2017, arXiv:1702.01284,
# algorithm 6), which needs no tables and has no bias at small sizes. Metric versions since 0010 hold no such sketches.
FUNCTIONS = (
    "CREATE DOMAIN fleetgauge.distinct_sketch AS integer[]",
    """
    CREATE FUNCTION fleetgauge.distinct_fold(parts fleetgauge.distinct_sketch[]) RETURNS fleetgauge.distinct_sketch
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
    BEGIN
        IF cardinality(parts) = 1 THEN
            RETURN parts[1];
        END IF;
        RETURN (
            SELECT coalesce(array_agg(best ORDER BY best), '{}')
            FROM (
                SELECT max(entry) AS best
                FROM unnest(parts) AS part, unnest(part::integer[]) AS entry
                GROUP BY entry / 64
            ) AS registers
        );
    END
    $$
    """,
    """
    CREATE AGGREGATE fleetgauge.distinct_merge(fleetgauge.distinct_sketch) (
        SFUNC = array_append, STYPE = fleetgauge.distinct_sketch[], FINALFUNC = fleetgauge.distinct_fold,
        INITCOND = '{}', PARALLEL = SAFE
    )
    """,
    """
    CREATE FUNCTION fleetgauge."distinct"(sketch fleetgauge.distinct_sketch) RETURNS bigint
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
        IF cardinality(sketch) = 0 THEN
            RETURN 0;
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
    """,
    """
    COMMENT ON FUNCTION fleetgauge."distinct" IS
        'How many different values a distinct measure has seen, standard error 1.6 %; of several rows:
        fleetgauge.distinct(fleetgauge.distinct_merge(measure)).'
    """,
)


def upgrade() -> None:
    """Create them."""
    for statement in FUNCTIONS:
        op.execute(statement)


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP DOMAIN fleetgauge.distinct_sketch CASCADE")
