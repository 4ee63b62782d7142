"""Kafka → Elasticsearch: effectively once, and no event is ever silently lost.

How the rooms fit: `read` is Kafka as ingest sees it (records in columns, positions); `indices` are the daily indices;
`check` decodes payloads against their contracts and lays out bulk bodies; `deliver` keeps a bounded number of batches
under way, written by worker threads until every event of them is stored, known or dead-lettered; `deadletters` is
where the rest goes and how it comes back; `operate` is what people and processes run. What an answer of Elasticsearch
means is said once, in `fleetgauge.elasticsearch`.
"""

from fleetgauge.ingest.consumer import Consumer, DeadLetterLimit

__all__ = ["Consumer", "DeadLetterLimit"]
