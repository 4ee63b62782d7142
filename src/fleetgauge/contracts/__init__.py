"""Event contracts: read `schemas/events/*.json`, derive the typed decoder and the Elasticsearch mapping from them."""

from fleetgauge.contracts.load import Contract, ContractSet, load
from fleetgauge.contracts.subset import ContractError

__all__ = ["Contract", "ContractError", "ContractSet", "load"]
