"""Steps that messages are billed as, in a loop: a function of SQL took half of each reading of cost by the minute."""

from alembic import op

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None

_HEAD = """
CREATE OR REPLACE FUNCTION fleetgauge.billed_steps(tally fleetgauge.tally, overhead integer, step integer)
RETURNS numeric LANGUAGE {} IMMUTABLE STRICT PARALLEL SAFE
"""
LOOP = f"""
{_HEAD.format("plpgsql")} AS $$
DECLARE
    half CONSTANT integer := cardinality(tally) / 2;
    steps numeric := 0;
    size numeric;
BEGIN
    FOR i IN 1..half LOOP
        size := tally[i]::numeric + overhead;
        steps := steps + tally[half + i] * div(CASE WHEN size > 0 THEN size + step - 1 ELSE size END, step);
    END LOOP;
    RETURN steps;
END
$$
"""
BEFORE = f"""
{_HEAD.format("sql")}
BEGIN ATOMIC
    SELECT coalesce(sum(n * CASE
        WHEN value + overhead::numeric > 0 THEN div(value + overhead::numeric + step - 1, step)
        ELSE div(value + overhead::numeric, step)
    END), 0)
    FROM unnest(tally[1:cardinality(tally) / 2], tally[cardinality(tally) / 2 + 1:]) AS pair(value, n);
END
"""  # noqa: S608 (of constants)


def upgrade() -> None:
    """The same numbers, sooner."""
    op.execute(LOOP)


def downgrade() -> None:
    """As it was."""
    op.execute(BEFORE)
