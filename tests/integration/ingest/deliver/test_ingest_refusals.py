"""A refused login, a refused write and an answer that nobody knows: the consumer stops and loses nothing."""

import json
from typing import Any

import pytest

from fleetlab.faults import Fault, FaultProxy

LOGIN = "check elasticsearch.api_key, or username and password"
RIGHTS = "check elasticsearch.api_key or username and password, and that the role may create_doc on the index"
UNKNOWN = "this answer is not in the table of docs/ingest.md, so nothing was committed; see Elasticsearch's log"


@pytest.mark.parametrize("world", ["batch_records=500"], indirect=True)
@pytest.mark.parametrize(
    ("fault", "told", "fix", "some_stored"),
    [
        (Fault.UNAUTHORIZED, "a bulk request got HTTP 401 security_exception: token expired", LOGIN, False),
        (Fault.ITEM_FORBIDDEN, "got 403 security_exception: action [indices:data/write/bulk[s]]", RIGHTS, True),
        (Fault.ITEM_UNKNOWN, "got 400 never_seen_before_exception: nobody knows this one", UNKNOWN, True),
    ],
)
def test_a_refusal_stops_before_anything_is_committed_or_dead_lettered(
    world: Any,
    event: Any,
    id_of: Any,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
    told: str,
    fix: str,
    some_stored: bool,
) -> None:
    good = [event(number) for number in range(4000)]
    broken = [b"broken %d" % number for number in range(20)]
    world.send([*good[:30], *broken[:10], *good[30:], *broken[10:]])
    with FaultProxy(world.settings.elasticsearch.url) as proxy:
        monkeypatch.setenv("FLEETGAUGE_ELASTICSEARCH__URL", proxy.url)
        proxy.break_down(fault)
        refused = world.start()
        refused.communicate(timeout=60)
        assert refused.returncode == 70, world.stderr(refused)
        text = world.stderr(refused)
        last = text.splitlines()[-1]
        assert last.startswith("fleetgauge: ") and told in last and last.endswith(fix)
        assert "Traceback" not in text
        assert not world.committed() and not world.dead_letters()
        assert proxy.applied[fault] >= 1
        assert bool(proxy.events) is some_stored, "events of the same request that were not refused are stored"

        proxy.heal()
        healed = world.start("--until-caught-up", "--json")
        output, _ = healed.communicate(timeout=60)
        assert healed.returncode == 0, world.stderr(healed)
    summary = json.loads(output)
    assert sum(summary["events"].values()) == 4020 and bool(summary["events"]["duplicate"]) is some_stored
    assert sorted(hit["_id"] for hit in world.stored()) == sorted(map(id_of, good))
    assert sorted(dead_letter.value for dead_letter in world.dead_letters()) == sorted(broken)
    assert sum(world.committed().values()) == 4020
