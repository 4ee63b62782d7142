"""Faults on the way from Kafka to Elasticsearch, for tests: which ones and when (`schedule`), and how (`proxy`)."""

from fleetlab.faults.proxy import Fault, FaultProxy
from fleetlab.faults.schedule import FAULTS, OUTAGES, REFUSALS, Incident, Schedule, Step, schedule

__all__ = ["FAULTS", "OUTAGES", "REFUSALS", "Fault", "FaultProxy", "Incident", "Schedule", "Step", "schedule"]
