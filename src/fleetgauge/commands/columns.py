"""What a command event says: the one description from which struct, tables, SQL and documents' fields follow.

`events` decodes stored documents by it, `statements` fills the templates in `sql/` with its names. The migration holds
the same names in frozen text, for a migration must not change; a test compares the tables with this page.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "smallint", "integer", "timestamptz"]
Part = Literal["key", "shared", "own"]

STEPS = ("requested", "sent", "delivered", "responded")
"""The steps of an attempt by `event.action`; a step is stored as its number, counted from 1."""

REQUESTED, SENT, DELIVERED, RESPONDED = range(1, 5)


@dataclass(frozen=True)
class EventColumn:
    """One thing that an event says. Times are the server's, in UTC."""

    name: str
    kind: Kind
    part: Part
    """`key`: says which event it is. `shared`: said by every event of an attempt. `own`: of this event alone."""
    path: str
    """Where it stands in the document."""
    may_differ: bool = False
    """Whether events of one attempt may say different things without being in conflict."""
    optional: bool = False
    """Whether an event may leave it out."""


EVENT = (
    EventColumn("device_id", "text", "key", "device.id"),
    EventColumn("command_id", "text", "key", "command.id"),
    EventColumn("attempt", "smallint", "key", "command.attempt"),
    EventColumn("step", "smallint", "key", "event.action"),
    EventColumn("at", "timestamptz", "own", "timestamp"),
    EventColumn("requested_at", "timestamptz", "shared", "command.requested_at"),
    EventColumn("deadline_at", "timestamptz", "shared", "command.deadline_at"),
    EventColumn("command_type", "text", "shared", "command.type"),
    EventColumn("vehicle_model", "text", "shared", "device.model"),
    EventColumn("firmware", "text", "shared", "device.firmware", may_differ=True),  # an update reports the new one
    EventColumn("carrier", "text", "shared", "network.carrier"),
    EventColumn("sim", "text", "shared", "network.sim"),
    EventColumn("result", "text", "own", "result", optional=True),
    EventColumn("error_code", "text", "own", "error_code", optional=True),
    EventColumn("bytes", "integer", "own", "message.bytes", optional=True),
    EventColumn("event_id", "text", "key", "event.id"),
)
"""One row of `fleetgauge.command_event`. An event is known by its key: an id is unique within its device, and a copy of
an event, whatever its time, has the same key. Of two copies, or two events of a step, the lesser in this order of
columns wins: the earlier one, ties by value."""

EVENT_KEY = tuple(c.name for c in EVENT if c.part == "key")
EVENT_REST = tuple(c.name for c in EVENT if c.part != "key")
SHARED = tuple(c.name for c in EVENT if c.part == "shared")
AGREED = tuple(c.name for c in EVENT if c.part == "shared" and not c.may_differ)

ATTEMPT_KEY = ("device_id", "command_id", "attempt")
CLOCKS = ("sent_at", "delivered_at", "responded_at")
SIZES = ("sent_bytes", "delivered_bytes", "responded_bytes")
ANSWER = ("result", "error_code")
JUDGED = ("status", "is_last", "conflicting", "rolled_back", "any_late_success")
ATTEMPT = (*ATTEMPT_KEY, "described_by", *SHARED, *CLOCKS, *ANSWER, *SIZES, *JUDGED)
"""What `fleetgauge.command_attempt` holds of an attempt, besides when it was changed and what Postgres generates."""
