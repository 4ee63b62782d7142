"""What a replayed record says of its first try counts only with a signature: any producer can write any header.

The key is `kafka.replay_key` of the settings, the same for consumers and for `fleetgauge dlq replay`.
"""

import hashlib
import hmac

from fleetgauge.ingest.read.record_headers import OWN
from fleetgauge.kafka.batches import Headers

SIGNATURE = "fleetgauge.signature"
"""HMAC-SHA256, in hexadecimal, over the payload and all headers of ours."""


def signed(headers: Headers, value: bytes | None, key: str | None) -> Headers:
    """The headers with a signature over ours and the payload; as they are without a key."""
    return headers if key is None else [*headers, (SIGNATURE, _signature(headers, value, key))]


def authentic(headers: Headers, value: bytes | None, key: str | None) -> Headers:
    """The headers, without those that look like ours and are not: nothing then tells the record from any other."""
    if not any(name.startswith(OWN) for name, _ in headers):
        return headers
    said = next((found for name, found in headers if name == SIGNATURE), None)
    if key is not None and said is not None and hmac.compare_digest(said, _signature(headers, value, key)):
        return headers
    return [(name, found) for name, found in headers if not name.startswith(OWN)]


def _signature(headers: Headers, value: bytes | None, key: str) -> bytes:
    ours = sorted((n, v or b"") for n, v in headers if n.startswith(OWN) and n != SIGNATURE)
    digest = hmac.new(key.encode(), digestmod=hashlib.sha256)
    for part in (part for name, found in ours for part in (name.encode(), found)):
        digest.update(b"%d:" % len(part) + part)
    digest.update(hashlib.sha256(value or b"").digest())
    return digest.hexdigest().encode()
