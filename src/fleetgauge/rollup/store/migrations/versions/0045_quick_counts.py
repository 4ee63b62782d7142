"""How many values a sketch or a tally has, in a loop: a function of SQL takes longer to begin than to count a few."""

from alembic import op

revision = "0045"
down_revision = "0044"
branch_labels = None
depends_on = None

_HEAD = """
CREATE OR REPLACE FUNCTION fleetgauge.{of}_count({of} fleetgauge.{of}) RETURNS bigint
LANGUAGE {language} IMMUTABLE STRICT PARALLEL SAFE
"""
LOOP = f"""
{_HEAD} AS $$
DECLARE
    n bigint;
    counted bigint := 0;
BEGIN
    FOREACH n IN ARRAY {{of}}[cardinality({{of}}) / 2 + 1:] LOOP
        counted := counted + n;
    END LOOP;
    RETURN counted;
END
$$
"""
BEFORE = f"""
{_HEAD}
BEGIN ATOMIC
    SELECT coalesce(sum(n), 0)::bigint FROM unnest({{of}}[cardinality({{of}}) / 2 + 1:]) AS n;
END
"""  # noqa: S608 (of constants)


def upgrade() -> None:
    """The same numbers, sooner."""
    for of in ("sketch", "tally"):
        op.execute(LOOP.format(of=of, language="plpgsql"))


def downgrade() -> None:
    """As they were."""
    for of in ("sketch", "tally"):
        op.execute(BEFORE.format(of=of, language="sql"))
