"""What `ingest_world` offers, for the tests of this folder."""

from ingest_world import event_, id_of_, wait_until_, world

__all__ = ["event_", "id_of_", "wait_until_", "world"]
