"""The guard of every transaction on a source: whether it still is a read replica."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleetgauge.mysql.mysql_database import MysqlDatabase, MysqlSession
from fleetgauge.mysql.mysql_errors import not_a_replica
from fleetgauge.settings import SourceSettings


@dataclass(frozen=True)
class Replication:
    """What a server says of itself."""

    read_only: bool
    channels: tuple[Mapping[str, Any], ...]
    """One for each server that it replicates from, as `SHOW REPLICA STATUS` tells them."""

    @property
    def is_no_replica(self) -> str | None:
        """Why it is none; None if it is one.

        Asked for both, since a primary is made read-only too when it is about to be replaced, and a replica that may be
        written shows what the primary has never had.
        """
        if not self.read_only:
            return "it may be written (read_only is off), so it is a primary, or has been promoted"
        return None if self.channels else "it replicates from no server (SHOW REPLICA STATUS is empty)"


def replication(session: MysqlSession) -> Replication:
    """Blocks. Needs the right REPLICA MONITOR (MariaDB) or REPLICATION CLIENT (MySQL)."""
    ((read_only,),) = session.rows("SELECT @@global.read_only")
    said = session.named_rows("SHOW ALL SLAVES STATUS" if session.is_mariadb else "SHOW REPLICA STATUS")
    return Replication(bool(read_only), tuple(said))


def guard_replica(session: MysqlSession, database: MysqlDatabase, settings: SourceSettings) -> None:
    """In each transaction: a replica may have been promoted since the last one.

    Raises `Stop` when a replica was asked for and this is none.
    """
    if settings.allow_primary:
        return
    why = replication(session).is_no_replica
    if why is not None:
        raise not_a_replica(database.name, database.key, why)
