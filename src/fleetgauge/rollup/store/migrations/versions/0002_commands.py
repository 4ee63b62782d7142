"""Command attempts, the cursor of their fold, tariffs, and the function that decides a status."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = (
    # The one place of truth; `fleetgauge.commands.status` is its twin in Python. Comparisons: see docs/commands.md.
    """
    CREATE FUNCTION fleetgauge.command_status(
        sent_at timestamptz, delivered_at timestamptz, responded_at timestamptz, result text,
        deadline_at timestamptz, as_of timestamptz
    ) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN responded_at <= deadline_at THEN result
        WHEN responded_at > deadline_at THEN 'timed_out'
        WHEN deadline_at < as_of AND sent_at IS NULL AND delivered_at IS NULL THEN 'expired'
        WHEN deadline_at < as_of THEN 'timed_out'
        WHEN delivered_at IS NOT NULL THEN 'delivered'
        WHEN sent_at IS NOT NULL THEN 'sent'
        ELSE 'queued'
    END
    """,
    """
    COMMENT ON FUNCTION fleetgauge.command_status IS
        'Status of a command attempt from its clocks, result and deadline, as of an instant before which all is known.'
    """,
    """
    CREATE TABLE fleetgauge.command_attempt (
        command_id text COLLATE "C" NOT NULL,
        attempt smallint NOT NULL,
        described_by smallint NOT NULL,
        command_type text NOT NULL,
        device_id text NOT NULL,
        vehicle_model text NOT NULL,
        firmware text NOT NULL,
        carrier text NOT NULL,
        sim text NOT NULL,
        requested_at timestamptz NOT NULL,
        deadline_at timestamptz NOT NULL,
        sent_at timestamptz,
        delivered_at timestamptz,
        responded_at timestamptz,
        result text CHECK (result IN ('succeeded', 'failed', 'rejected')),
        error_code text,
        sent_bytes integer,
        delivered_bytes integer,
        responded_bytes integer,
        status text NOT NULL,
        late_success boolean NOT NULL
            GENERATED ALWAYS AS (coalesce(responded_at > deadline_at AND result = 'succeeded', false)) STORED,
        is_last boolean NOT NULL,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        PRIMARY KEY (command_id, attempt),
        CHECK ((responded_at IS NULL) = (result IS NULL))
    )
    """,
    """
    COMMENT ON TABLE fleetgauge.command_attempt IS
        'One row per command and attempt, folded from events; times are the server''s.'
    """,
    """
    COMMENT ON COLUMN fleetgauge.command_attempt.described_by IS
        'Step whose event gave the attributes: 1 requested, 2 sent, 3 delivered, 4 responded. The earliest seen wins.'
    """,
    """
    COMMENT ON COLUMN fleetgauge.command_attempt.is_last IS
        'No later attempt of this command is known; the last attempt decides the outcome of the command.'
    """,
    "CREATE INDEX command_attempt_requested_at ON fleetgauge.command_attempt (requested_at)",
    "CREATE INDEX command_attempt_updated_at ON fleetgauge.command_attempt (updated_at)",
    "CREATE INDEX command_attempt_sent_at ON fleetgauge.command_attempt (sent_at)",
    "CREATE INDEX command_attempt_delivered_at ON fleetgauge.command_attempt (delivered_at)",
    "CREATE INDEX command_attempt_responded_at ON fleetgauge.command_attempt (responded_at)",
    """
    CREATE INDEX command_attempt_open ON fleetgauge.command_attempt (deadline_at)
        WHERE status IN ('queued', 'sent', 'delivered')
    """,
    """
    CREATE TABLE fleetgauge.command_fold (
        topic text NOT NULL,
        consumer_group text NOT NULL,
        index_name text NOT NULL,
        topic_id text,
        offsets jsonb NOT NULL DEFAULT '{}',
        rescan boolean NOT NULL DEFAULT false,
        judged_at timestamptz NOT NULL DEFAULT '-infinity',
        updated_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (topic, consumer_group, index_name)
    )
    """,
    "COMMENT ON COLUMN fleetgauge.command_fold.offsets IS 'Next offset to fold, by partition.'",
    """
    COMMENT ON COLUMN fleetgauge.command_fold.rescan IS
        'Offsets went backwards: every stored document is to be folded anew, whatever its offset.'
    """,
    """
    COMMENT ON COLUMN fleetgauge.command_fold.judged_at IS
        'Deadlines before this instant have been counted as passed.'
    """,
    """
    CREATE TABLE fleetgauge.tariff (
        carrier text NOT NULL,
        valid_from timestamptz NOT NULL,
        valid_to timestamptz NOT NULL DEFAULT 'infinity',
        overhead_bytes integer NOT NULL CHECK (overhead_bytes >= 0),
        step_bytes integer NOT NULL CHECK (step_bytes > 0),
        price_krw numeric NOT NULL CHECK (price_krw >= 0),
        rounding text NOT NULL CHECK (rounding = 'message'),
        PRIMARY KEY (carrier, valid_from),
        CHECK (valid_from < valid_to)
    )
    """,
    """
    COMMENT ON TABLE fleetgauge.tariff IS
        'Mobile traffic: a message costs ceil((bytes + overhead) / step) * price. Filled from sql/tariffs/ by migrate.'
    """,
    # The formula of the bill, beside `fleetgauge.commands.cost`. A payload of `other` or `unknown` has no price: NULL.
    """
    CREATE FUNCTION fleetgauge.billed_steps(payload_bytes text, overhead_bytes integer, step_bytes integer)
    RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN payload_bytes ~ '^[0-9]{1,15}$' THEN (payload_bytes::bigint + overhead_bytes + step_bytes - 1) / step_bytes
    END
    """,
    """
    GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE
    ON fleetgauge.command_attempt, fleetgauge.command_fold TO fleetgauge_writer
    """,
    # Prices come from files alone, by the owner.
    "REVOKE ALL ON fleetgauge.tariff FROM fleetgauge_writer",
    "GRANT SELECT ON fleetgauge.tariff TO fleetgauge_writer",
)


def upgrade() -> None:
    """Create everything."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop everything; attempts can be folded again while their events are kept."""
    op.execute("DROP TABLE fleetgauge.tariff, fleetgauge.command_fold, fleetgauge.command_attempt")
    op.execute("DROP FUNCTION fleetgauge.command_status, fleetgauge.billed_steps")
