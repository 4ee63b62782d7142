"""How often the days of a month were written, and what views keep of a month that is dear to compute."""

from alembic import op

revision = "0040"
down_revision = "0038"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE fleetgauge.day_change (
    metric text NOT NULL,
    version text NOT NULL,
    month date NOT NULL,
    changes bigint NOT NULL,
    PRIMARY KEY (metric, version, month)
);
COMMENT ON TABLE fleetgauge.day_change IS
    'How often day rows of a local month were written, of metrics that keep no minutes; tells whether what was computed
    of them is still theirs.';
CREATE TABLE fleetgauge.stored_month (
    name text NOT NULL,
    month date NOT NULL,
    inputs text NOT NULL,
    rows jsonb NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (name, month)
);
COMMENT ON TABLE fleetgauge.stored_month IS
    'Rows of views that are dear to compute, by local month. They are read as long as inputs, a hash of all that they
    follow from, is the same; else the view computes them.';
GRANT SELECT, INSERT, UPDATE, DELETE ON fleetgauge.day_change, fleetgauge.stored_month TO fleetgauge_writer;
CREATE FUNCTION fleetgauge.note_day_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO fleetgauge.day_change AS d (metric, version, month, changes)
    SELECT DISTINCT TG_ARGV[0], TG_ARGV[1], date_trunc('month', c.date::timestamp)::date, 1 FROM changed AS c
    ON CONFLICT (metric, version, month) DO UPDATE SET changes = d.changes + 1;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION fleetgauge.note_day_change IS 'Counts in fleetgauge.day_change that day rows were written.';
"""

# Tables of later versions get theirs when they are made.
TRIGGERS = """
DO $$
DECLARE
    v record;
    event text;
BEGIN
    FOR v IN
        SELECT metric, version, format('%s_day__%s', metric, version) AS name FROM fleetgauge.metric_version
        WHERE to_regclass(format('store.%I', format('%s_day__%s', metric, version))) IS NOT NULL
        AND to_regclass(format('store.%I', format('%s_minute__%s', metric, version))) IS NULL
    LOOP
        FOREACH event IN ARRAY ARRAY['INSERT', 'UPDATE', 'DELETE'] LOOP
            EXECUTE format(
                'CREATE OR REPLACE TRIGGER %I AFTER %s ON store.%I REFERENCING %s TABLE AS changed FOR EACH STATEMENT'
                ' EXECUTE FUNCTION fleetgauge.note_day_change(%L, %L)',
                'day_change_' || lower(event), event, v.name, CASE event WHEN 'DELETE' THEN 'OLD' ELSE 'NEW' END,
                v.metric, v.version
            );
        END LOOP;
    END LOOP;
END
$$
"""


def upgrade() -> None:
    """Nothing is stored before the next run."""
    op.execute(TABLES)
    op.execute(TRIGGERS)


def downgrade() -> None:
    """Views must be those of before already, for they read what goes."""
    op.execute("DROP FUNCTION fleetgauge.note_day_change CASCADE")
    op.execute("DROP TABLE fleetgauge.stored_month, fleetgauge.day_change")
