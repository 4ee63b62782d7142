"""A batch is a trace, where somebody collects traces."""

from typing import Any

import pytest
from delivery_world import rig_of
from tests.loopback_receiver import receiver

from fleetgauge.contracts import ContractSet
from fleetgauge.observability import tracing


def test_a_batch_is_a_trace_with_its_requests(
    world: Any, contracts: ContractSet, batch_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiver() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{collector.address}")
        tracing.forget()
        try:
            assert rig_of(world, contracts).deliver(batch_of(world.tip_over(0), world.tip_over(1))).finished
            tracing.flush()
        finally:
            monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
            tracing.forget()
        spans = dict(collector.spans())
    assert spans["batch"]["fleetgauge.events"] == 2 and spans["batch"]["fleetgauge.created"] == 2
    assert spans["bulk"]["fleetgauge.events"] == 2 and "@" in str(spans["batch"]["fleetgauge.batch"])
