"""Connections to Elasticsearch on which a whole answer has a deadline."""

from elastic_transport import NodeConfig, Urllib3HttpNode
from urllib3.connection import HTTPConnection, HTTPSConnection

from fleetgauge.http_in_time import answers_within


class TimelyNode(Urllib3HttpNode):
    """A node of elastic-transport: from its head to its end, an answer takes at most the request time-out."""

    def __init__(self, config: NodeConfig) -> None:
        super().__init__(config)
        base = HTTPConnection if config.scheme == "http" else HTTPSConnection
        within = {"response_class": answers_within(config.request_timeout or 60.0)}
        self.pool.ConnectionCls = type("TimelyConnection", (base,), within)
