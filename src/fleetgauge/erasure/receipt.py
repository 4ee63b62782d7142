"""What an erasure leaves behind: a receipt without the id, in the metrics database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from fleetgauge.erasure.found import Found, together
from fleetgauge.postgres import Connection, Jsonb
from fleetgauge.privacy.distinct_key import DistinctKey
from fleetgauge.privacy.identity import Identity, digest
from fleetgauge.rollup.sketches.distinct import fingerprint

_ROWS = """
SELECT id, subject, key_id, digest, asked_by, asked_at, finished_at, counts, log_until FROM fleetgauge.erasure
"""


@dataclass(frozen=True)
class Receipt:
    """One erasure. Counts are of what was freed of the id; with a dry run, of what names it now."""

    subject: str
    key_id: str
    digest: str
    """HMAC-SHA-256 of the id, in hexadecimal digits."""
    asked_by: str
    asked_at: datetime
    finished_at: datetime | None
    """None: broken off, or a dry run."""
    found: tuple[Found, ...]
    log_until: Mapping[str, str | None]
    """By topic: until when, ISO 8601, it may still hold records of before; None: for ever."""
    id: int | None = None
    """Its number; None of a dry run."""


def prints_of(identity: Identity, key: DistinctKey) -> list[int]:
    """The fingerprints of every spelling, by the key, and without one as versions of before had them."""
    return sorted({fingerprint(one, own) for one in identity.spellings for own in (key, None)})


class ReceiptBook:
    """Writes down one erasure as it goes on; each entry is a transaction."""

    def __init__(self, connection: Connection, identity: Identity, subject: str, key: DistinctKey) -> None:
        self._connection = connection
        self._digest = digest(identity.id, key)
        self._subject, self._key_id, self._prints = subject, key.id, prints_of(identity, key)
        self._id: int | None = None

    def begin(self, asked_by: str) -> None:
        """A new receipt, or the one that an erasure of the same person, broken off, has begun."""
        row = self._connection.execute(
            "SELECT id FROM fleetgauge.erasure WHERE finished_at IS NULL AND (subject, key_id, digest) = (%s, %s, %s)"
            " ORDER BY id LIMIT 1",
            [self._subject, self._key_id, self._digest],
        ).fetchone()
        self._id = (row or self._new(asked_by))[0]

    def _new(self, asked_by: str) -> tuple[int]:
        values = [self._subject, self._key_id, self._digest, self._prints, asked_by]
        query = (
            "INSERT INTO fleetgauge.erasure (subject, key_id, digest, prints, asked_by)"
            " VALUES (%s, %s, %s, %s, %s) RETURNING id"
        )
        return (int(next(iter(self._connection.execute(query, values)))[0]),)

    def note(self, found: Found) -> None:
        """Add to the counts what was done."""
        if found.count:
            self._connection.execute(
                "UPDATE fleetgauge.erasure SET counts = jsonb_set(counts || jsonb_build_object(%(store)s::text,"
                " coalesce(counts -> %(store)s::text, '{}')), ARRAY[%(store)s::text, %(what)s::text],"
                " to_jsonb(coalesce((counts #>> ARRAY[%(store)s::text, %(what)s::text])::bigint, 0) + %(count)s))"
                " WHERE id = %(id)s",
                {"store": found.store, "what": found.what, "count": found.count, "id": self._id},
            )

    def finish(self, log_until: Mapping[str, datetime | None]) -> Receipt:
        """Every store is through."""
        until = {topic: None if at is None else at.isoformat() for topic, at in log_until.items()}
        self._connection.execute(
            "UPDATE fleetgauge.erasure SET finished_at = clock_timestamp(), log_until = %s WHERE id = %s",
            [Jsonb(until), self._id],
        )
        return next(one for one in receipts(self._connection) if one.id == self._id)


def receipts(connection: Connection) -> Sequence[Receipt]:
    """All of them, the oldest first."""
    return [
        Receipt(
            subject,
            key_id,
            digested,
            asked_by,
            asked_at,
            finished_at,
            together(Found(store, what, n) for store, whats in counts.items() for what, n in whats.items()),
            log_until,
            number,
        )
        for number, subject, key_id, digested, asked_by, asked_at, finished_at, counts, log_until in connection.execute(
            _ROWS + " ORDER BY id"
        ).fetchall()
    ]
