"""What a team writes in an afternoon: kafka-python, a dict for each event, `helpers.bulk`, then commit."""

import json
import sys
from datetime import UTC, datetime

from elasticsearch import Elasticsearch, helpers
from kafka import KafkaConsumer


def main(bootstrap: str, url: str, topic: str, index: str) -> None:
    """Runs until it is stopped."""
    client = Elasticsearch(url)
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=index,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_poll_records=2000,
        value_deserializer=json.loads,
    )
    while True:
        polled = consumer.poll(timeout_ms=500)
        actions = []
        for records in polled.values():
            for record in records:
                event = record.value
                event["@timestamp"] = event["timestamp"]
                day = datetime.fromtimestamp(event["timestamp"] / 1000, UTC)
                actions.append(
                    {
                        "_op_type": "create",
                        "_index": f"{index}-{day:%Y.%m.%d}",
                        "_id": f"{event['device']['id']}:{event['event']['id']}",
                        "_source": event,
                    }
                )
        if actions:
            helpers.bulk(client, actions, chunk_size=2000)
            consumer.commit()


if __name__ == "__main__":
    main(*sys.argv[1:])
