"""Event contracts: read `schemas/events/*.json`, derive the typed decoder and the Elasticsearch mapping from them."""

from fleetgauge.contracts.load import Contract, ContractSet, load

__all__ = ["Contract", "ContractSet", "load"]
