"""Who has been erased, by keyed digest, with the receipt; and sketches without somebody."""

from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

# Of a bitmap nobody is taken out: a coupon is shared by many, and tells of none of them.
WITHOUT = """
CREATE FUNCTION fleetgauge.distinct_without(sketch fleetgauge.distinct_bits, gone integer[])
RETURNS fleetgauge.distinct_bits LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE WHEN length(sketch) > 4096 THEN sketch ELSE (
        SELECT ('x' || coalesce(string_agg(lpad(to_hex(print), 8, '0'), '' ORDER BY print), ''))::bit varying
        FROM (
            SELECT substring(sketch FROM i FOR 32)::bit(32)::integer AS print
            FROM generate_series(1, length(sketch), 32) AS i
        ) AS own
        WHERE print <> ALL (gone)
    ) END
$$
"""

COLUMNS = {
    "id": ("bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "Its number."),
    "subject": ("text NOT NULL", "Whose id it was: rider."),
    "key_id": ("text NOT NULL", "Id of the key of digest and fingerprints."),
    "digest": ("text NOT NULL", "HMAC-SHA-256 of the id, which is kept nowhere."),
    "prints": ("integer[] NOT NULL", "Its fingerprints, which no run stores again."),
    "asked_by": ("text NOT NULL", "Who erased."),
    "asked_at": ("timestamptz NOT NULL DEFAULT clock_timestamp()", "When it began."),
    "finished_at": ("timestamptz", "When every store was through; NULL: broken off, erase again."),
    "counts": ("jsonb NOT NULL DEFAULT '{}'", "What was erased, by store."),
    "log_until": ("jsonb NOT NULL DEFAULT '{}'", "Until when topics may still hold a record; null: for ever."),
}


def upgrade() -> None:
    """Create the table and the function."""
    op.execute(WITHOUT)
    op.execute(
        "COMMENT ON FUNCTION fleetgauge.distinct_without(fleetgauge.distinct_bits, integer[]) IS 'A sketch of a set"
        " without some of its fingerprints; a bitmap stays as it is.'"
    )
    columns = ", ".join(f"{name} {kind}" for name, (kind, _) in COLUMNS.items())
    op.execute(f"CREATE TABLE fleetgauge.erasure ({columns})")
    op.execute("COMMENT ON TABLE fleetgauge.erasure IS 'Receipts of erasures; they hold digests, and no id.'")
    for name, (_, meaning) in COLUMNS.items():
        op.execute(f"COMMENT ON COLUMN fleetgauge.erasure.{name} IS '{meaning}'")
    op.execute("GRANT SELECT, INSERT, UPDATE ON fleetgauge.erasure TO fleetgauge_writer")


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP TABLE fleetgauge.erasure")
    op.execute("DROP FUNCTION fleetgauge.distinct_without(fleetgauge.distinct_bits, integer[])")
