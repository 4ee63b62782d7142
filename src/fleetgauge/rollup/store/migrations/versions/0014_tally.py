"""Tallies: how often each whole number occurs, exactly, and what messages of these sizes cost."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# {value, …, count, …}: values by rising number, then their counts, as `fleetgauge.rollup.sketches.tally`, the twin.
STATEMENTS = (
    "CREATE DOMAIN fleetgauge.tally AS bigint[]",
    """
    CREATE FUNCTION fleetgauge.tally_collect(parts fleetgauge.tally[]) RETURNS fleetgauge.tally
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
    BEGIN
        IF cardinality(parts) = 1 THEN
            RETURN parts[1];
        END IF;
        RETURN (
            SELECT coalesce(array_agg(value ORDER BY value) || array_agg(n ORDER BY value), '{}')
            FROM (
                SELECT value, sum(n)::bigint AS n
                FROM unnest(parts) AS part,
                    unnest(part[1:cardinality(part) / 2], part[cardinality(part) / 2 + 1:]) AS pair(value, n)
                GROUP BY value
            ) AS summed
        );
    END
    $$
    """,
    """
    CREATE AGGREGATE fleetgauge.tally_merge(fleetgauge.tally) (
        SFUNC = array_append, STYPE = fleetgauge.tally[], FINALFUNC = fleetgauge.tally_collect, INITCOND = '{}',
        PARALLEL = SAFE
    )
    """,
    """
    CREATE FUNCTION fleetgauge.tally_count(tally fleetgauge.tally) RETURNS bigint
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    BEGIN ATOMIC
        SELECT coalesce(sum(n), 0)::bigint FROM unnest(tally[cardinality(tally) / 2 + 1:]) AS n;
    END
    """,
    """
    CREATE FUNCTION fleetgauge.tally_quantile(tally fleetgauge.tally, q double precision) RETURNS bigint
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
    DECLARE
        n bigint;
        place integer := 0;
        rank bigint := greatest(1, ceil(q::numeric * fleetgauge.tally_count(tally)));
    BEGIN
        FOREACH n IN ARRAY tally[cardinality(tally) / 2 + 1:] LOOP
            place := place + 1;
            rank := rank - n;
            IF rank <= 0 THEN
                RETURN tally[place];
            END IF;
        END LOOP;
        RETURN NULL;
    END
    $$
    """,
    # numeric throughout, so that no size overflows; div() cuts towards zero, which is the ceiling of what is negative.
    """
    CREATE FUNCTION fleetgauge.billed_steps(tally fleetgauge.tally, overhead integer, step integer) RETURNS numeric
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    BEGIN ATOMIC
        SELECT coalesce(sum(n * CASE
            WHEN value + overhead::numeric > 0 THEN div(value + overhead::numeric + step - 1, step)
            ELSE div(value + overhead::numeric, step)
        END), 0)
        FROM unnest(tally[1:cardinality(tally) / 2], tally[cardinality(tally) / 2 + 1:]) AS pair(value, n);
    END
    """,
    """
    CREATE FUNCTION fleetgauge.cost(tally fleetgauge.tally, overhead integer, step integer, price numeric)
    RETURNS numeric LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN fleetgauge.billed_steps(tally, overhead, step) * price
    """,
    """
    COMMENT ON AGGREGATE fleetgauge.tally_merge(fleetgauge.tally) IS 'One tally of several rows.'
    """,
    """
    COMMENT ON FUNCTION fleetgauge.tally_quantile IS
        'Nearest-rank quantile of a tally, exact; of several rows: tally_quantile(tally_merge(measure), 0.95).'
    """,
    """
    COMMENT ON FUNCTION fleetgauge.billed_steps(fleetgauge.tally, integer, integer) IS
        'Whole steps that messages of these sizes are billed as: the sum of ceil((size + overhead) / step).'
    """,
    """
    COMMENT ON FUNCTION fleetgauge.cost IS
        'What messages of these sizes cost: the sum of ceil((size + overhead) / step) * price, exact.'
    """,
)


def upgrade() -> None:
    """Create them."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop them; fails while a metric has a tally."""
    op.execute("DROP FUNCTION fleetgauge.cost, fleetgauge.billed_steps(fleetgauge.tally, integer, integer)")
    op.execute("DROP FUNCTION fleetgauge.tally_quantile, fleetgauge.tally_count")
    op.execute("DROP AGGREGATE fleetgauge.tally_merge(fleetgauge.tally)")
    op.execute("DROP FUNCTION fleetgauge.tally_collect")
    op.execute("DROP DOMAIN fleetgauge.tally")
