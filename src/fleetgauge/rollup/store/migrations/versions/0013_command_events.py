"""Command events, one row each, beside the attempts that they make; both by month, known by device and command id.

Whatever was materialised before is made anew: the next run reads every stored document.
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# Names as in `fleetgauge.commands.columns`, which a test compares with the tables.
EVENT = """
CREATE TABLE fleetgauge.command_event (
    device_id text COLLATE "C" NOT NULL,
    command_id text COLLATE "C" NOT NULL,
    attempt smallint NOT NULL,
    step smallint NOT NULL,
    event_id text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL,
    requested_at timestamptz NOT NULL,
    deadline_at timestamptz NOT NULL,
    command_type text NOT NULL,
    vehicle_model text NOT NULL,
    firmware text NOT NULL,
    carrier text NOT NULL,
    sim text NOT NULL,
    result text CHECK (result IN ('succeeded', 'failed', 'rejected')),
    error_code text,
    bytes integer,
    disagrees boolean NOT NULL,
    counted boolean NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (device_id, command_id, attempt, step, event_id, requested_at)
) PARTITION BY RANGE (requested_at)
"""
ATTEMPT = """
CREATE TABLE fleetgauge.command_attempt (
    device_id text COLLATE "C" NOT NULL,
    command_id text COLLATE "C" NOT NULL,
    attempt smallint NOT NULL,
    described_by smallint NOT NULL,
    requested_at timestamptz NOT NULL,
    deadline_at timestamptz NOT NULL,
    command_type text NOT NULL,
    vehicle_model text NOT NULL,
    firmware text NOT NULL,
    carrier text NOT NULL,
    sim text NOT NULL,
    sent_at timestamptz,
    delivered_at timestamptz,
    responded_at timestamptz,
    result text CHECK (result IN ('succeeded', 'failed', 'rejected')),
    error_code text,
    sent_bytes integer,
    delivered_bytes integer,
    responded_bytes integer,
    status text NOT NULL,
    is_last boolean NOT NULL,
    conflicting boolean NOT NULL,
    rolled_back boolean NOT NULL,
    any_late_success boolean NOT NULL,
    late_success boolean NOT NULL
        GENERATED ALWAYS AS (coalesce(responded_at > deadline_at AND result = 'succeeded', false)) STORED,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (device_id, command_id, attempt, requested_at),
    CHECK ((responded_at IS NULL) = (result IS NULL))
) PARTITION BY RANGE (requested_at)
"""

COMMENTS = {
    "TABLE fleetgauge.command_event": "One row an event of a command, the earliest copy of it; times are the server's.",
    "COLUMN fleetgauge.command_event.step": "1 requested, 2 sent, 3 delivered, 4 responded.",
    "COLUMN fleetgauge.command_event.event_id": (
        "Unique within its device. Empty: no event tells of this message, an ack or an answer proves it."
    ),
    "COLUMN fleetgauge.command_event.disagrees": "It is stored more than once, and not every copy says the same.",
    "COLUMN fleetgauge.command_event.counted": "False: a message without an event whose event was found since.",
    "TABLE fleetgauge.command_attempt": "One row for each attempt of a command of a device, made of its events.",
    "COLUMN fleetgauge.command_attempt.described_by": "Step whose event gave the attributes: the earliest known.",
    "COLUMN fleetgauge.command_attempt.is_last": (
        "No later attempt of this command is known; the last attempt decides the outcome of the command."
    ),
    "COLUMN fleetgauge.command_attempt.conflicting": "Its events disagree about it, or about the answer.",
    "COLUMN fleetgauge.command_attempt.rolled_back": "Answered with success first, and with something else later.",
    "COLUMN fleetgauge.command_attempt.any_late_success": (
        "An attempt of this command, this one or another, was answered with success after its deadline."
    ),
    "TABLE fleetgauge.command_kept": "From where on events are taken up; earlier months were dropped by retention.",
    "TABLE fleetgauge.command_cursor": "How far each source of command events has been materialised.",
    "COLUMN fleetgauge.command_cursor.offsets": "Next offset to read, by partition.",
    "COLUMN fleetgauge.command_cursor.epochs": "The epoch that each of these offsets belongs to.",
    "COLUMN fleetgauge.command_cursor.rescan": "Every stored document is to be read again, whatever its offset.",
    "COLUMN fleetgauge.command_cursor.rescanned": "Partition and offset that this has come to.",
    "COLUMN fleetgauge.command_cursor.judged_at": "Deadlines before this instant have been counted as passed.",
    "COLUMN fleetgauge.command_cursor.unusable": "Documents that were left out, since they are no command event.",
    "COLUMN fleetgauge.command_cursor.reused_ids": "Events whose id their device uses for another event too.",
    "COLUMN fleetgauge.command_cursor.expired": "Events left out since their month was dropped by retention.",
}

STATEMENTS = (
    "DROP TABLE fleetgauge.command_fold, fleetgauge.command_attempt",
    EVENT,
    ATTEMPT,
    "CREATE INDEX command_event_at ON fleetgauge.command_event (at)",
    "CREATE INDEX command_event_updated_at ON fleetgauge.command_event (updated_at)",
    "CREATE INDEX command_event_id ON fleetgauge.command_event (device_id, event_id)",
    "CREATE INDEX command_event_disagrees ON fleetgauge.command_event (updated_at) WHERE disagrees",
    "CREATE INDEX command_event_unseen ON fleetgauge.command_event (updated_at) WHERE event_id = '' AND counted",
    "CREATE INDEX command_attempt_requested_at ON fleetgauge.command_attempt (requested_at)",
    "CREATE INDEX command_attempt_updated_at ON fleetgauge.command_attempt (updated_at)",
    "CREATE INDEX command_attempt_conflicting ON fleetgauge.command_attempt (updated_at) WHERE conflicting",
    """
    CREATE INDEX command_attempt_open ON fleetgauge.command_attempt (deadline_at)
        WHERE status IN ('queued', 'sent', 'delivered')
    """,
    """
    CREATE TABLE fleetgauge.command_cursor (
        topic text NOT NULL,
        consumer_group text NOT NULL,
        index_name text NOT NULL,
        topic_id text,
        offsets jsonb NOT NULL DEFAULT '{}',
        epochs jsonb NOT NULL DEFAULT '{}',
        rescan boolean NOT NULL DEFAULT false,
        rescanned bigint[],
        judged_at timestamptz NOT NULL DEFAULT '-infinity',
        unusable bigint NOT NULL DEFAULT 0,
        reused_ids bigint NOT NULL DEFAULT 0,
        expired bigint NOT NULL DEFAULT 0,
        updated_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (topic, consumer_group, index_name)
    )
    """,
    """
    CREATE TABLE fleetgauge.command_kept (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        kept_from timestamptz NOT NULL
    )
    """,
    "INSERT INTO fleetgauge.command_kept (kept_from) VALUES ('-infinity')",
    "CREATE SCHEMA commands AUTHORIZATION fleetgauge_writer",
    # Who makes partitions must own the parents; to own a table in a schema one must be allowed to create there.
    "GRANT CREATE ON SCHEMA fleetgauge TO fleetgauge_writer",
    "ALTER TABLE fleetgauge.command_event OWNER TO fleetgauge_writer",
    "ALTER TABLE fleetgauge.command_attempt OWNER TO fleetgauge_writer",
    "REVOKE CREATE ON SCHEMA fleetgauge FROM fleetgauge_writer",
    *(f"COMMENT ON {what} IS '{said.replace(chr(39), chr(39) * 2)}'" for what, said in COMMENTS.items()),
)


def upgrade() -> None:
    """Create everything."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """There is no way back but a rebuild: the older tables are made empty by their own migrations."""
    op.execute("DROP TABLE fleetgauge.command_event, fleetgauge.command_attempt")
    op.execute("DROP TABLE fleetgauge.command_cursor, fleetgauge.command_kept")
    op.execute("DROP SCHEMA commands")
