"""A producer ends when it is told to, however much is under way, and says nothing on the terminal."""

import subprocess
import sys
import uuid

import pytest

from fleetgauge.kafka import KafkaAdminClient, NewTopic
from fleetgauge.kafka.kafka_clients import Producer
from fleetlab.stack import KafkaState
from silent_peers import frozen

SENDING = f"""
import sys, time
from {Producer.__module__} import Producer

closed, forgotten = (Producer(bootstrap_servers=sys.argv[1], linger_ms=0) for _ in range(2))
for producer in (closed, forgotten):
    producer.partitions_for(sys.argv[2])
print("connected", flush=True)
sys.stdin.readline()
for producer in (closed, forgotten):
    producer.send(sys.argv[2], b"nobody takes it")
began = time.monotonic()
closed.close(timeout=0.5)
print("ended" if time.monotonic() - began < 3 else "waited on", flush=True)
"""


SIMULATING = """
import sys, threading, time
from fleetlab.simulator.records import VALID, Record
from fleetlab.simulator.transactions import Transactions

now = int(time.time() * 1000)
record = Record(now, "e", 0, sys.argv[2], 0, b"k", b'{"e"}', VALID, "", "", 0, "", "", "", 0, None, "")
transactions = Transactions(sys.argv[1], "")
transactions.publish([record])
print("connected", flush=True)
sys.stdin.readline()
threading.Thread(target=transactions.publish, args=([record],), daemon=True).start()
time.sleep(0.5)  # the record lies in the producer by then; if not, the test is less strict
print("ended", flush=True)
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("program", [SENDING, SIMULATING], ids=["fleetgauge", "simulator"])
def test_what_a_mute_broker_has_not_taken_is_dropped_without_a_word(kafka: KafkaState, program: str) -> None:
    topic = f"producer-{uuid.uuid4().hex}"
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    admin.create_topics([NewTopic(name=topic, num_partitions=1, replication_factor=1)])
    admin.close()
    with subprocess.Popen(
        [sys.executable, "-c", program, kafka.bootstrap, topic],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as sending:  # fmt: skip
        assert sending.stdout is not None and sending.stdout.readline() == "connected\n", sending.communicate()[0]
        with frozen(int(kafka.bootstrap.rpartition(":")[2])):
            said, _ = sending.communicate("go on\n", timeout=60)
    assert (sending.returncode, said) == (0, "ended\n")
