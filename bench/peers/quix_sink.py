"""Quix Streams' own Elasticsearch sink, with the event's id and a batch as large as ours."""

import sys

from quixstreams import Application
from quixstreams.sinks.community.elasticsearch import ElasticsearchSink


class Sink(ElasticsearchSink):
    """Without the call of `info()` at the start, which the bare server here does not answer."""

    def setup(self) -> None:
        """Connect; the index exists."""
        from elasticsearch import Elasticsearch

        self._client = Elasticsearch(**self._client_kwargs)


def main(bootstrap: str, url: str, topic: str, index: str) -> None:
    """Runs until it is stopped."""
    app = Application(
        broker_address=bootstrap,
        consumer_group=index,
        auto_offset_reset="earliest",
        commit_interval=1.0,
        loglevel="WARNING",
    )
    sink = Sink(
        url,
        f"{index}-all",
        document_id_setter=lambda item: f"{item.value['device']['id']}:{item.value['event']['id']}",
        batch_size=2000,
    )
    app.dataframe(app.topic(topic, value_deserializer="json")).sink(sink)
    app.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
