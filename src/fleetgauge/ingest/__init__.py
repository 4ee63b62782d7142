"""Kafka → Elasticsearch: effectively once, and no event is ever silently lost.

How the parts fit: `service` polls Kafka and owns offsets and rebalances; `decode` checks payloads and lays out bulk
bodies; `pipeline` keeps a bounded number of batches under way; `delivery` writes one batch, in a worker thread, until
every event of it is stored, known or dead-lettered; `classes` says which answer means what.
"""

from fleetgauge.ingest.consumer import Consumer, DeadLetterLimit

__all__ = ["Consumer", "DeadLetterLimit"]
