"""The embedded stack: real servers on loopback, started from package registries alone, gone without a trace."""

from fleetlab.stack.layout import default_cache, default_home, project_root
from fleetlab.stack.progress import ConsoleProgress, Silent, StackProgress
from fleetlab.stack.stack import ServiceStatus, Stack
from fleetlab.stack.state import (
    CORE,
    SERVICES,
    AirflowState,
    ElasticsearchState,
    Endpoint,
    JavaState,
    KafkaState,
    MariadbState,
    MonitorState,
    PostgresState,
    Service,
    StackState,
)

__all__ = [
    "CORE",
    "SERVICES",
    "AirflowState",
    "ConsoleProgress",
    "ElasticsearchState",
    "Endpoint",
    "JavaState",
    "KafkaState",
    "MariadbState",
    "MonitorState",
    "PostgresState",
    "Service",
    "ServiceStatus",
    "Silent",
    "Stack",
    "StackProgress",
    "StackState",
    "default_cache",
    "default_home",
    "project_root",
]
