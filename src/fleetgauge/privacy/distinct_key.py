"""The key of fingerprints that stand for persons: without it nobody finds out whose they are by hashing all ids.

A fingerprint is the beginning of HMAC-SHA-256 (RFC 2104) of the value's text, so that any database with SHA-256 can
compute it: `sha256(outer || sha256(inner || value))`, where `inner` and `outer` are made of the key once.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Self

from pydantic import SecretStr

_BLOCK = 64
"""Bytes of a block of SHA-256."""


@dataclass(frozen=True)
class DistinctKey:
    """A key, ready for use. Shows its id alone."""

    id: str
    """Eight hexadecimal digits that tell keys apart and say nothing of them: a part of the metric's version."""
    inner: bytes = field(repr=False)
    outer: bytes = field(repr=False)

    @classmethod
    def of(cls, secret: SecretStr | None) -> Self | None:
        """The key of the settings' `rollup.distinct_key`; None if there is none."""
        if secret is None:
            return None
        key = secret.get_secret_value().encode()
        named = hashlib.sha256(b"fleetgauge distinct key id\0" + key).hexdigest()[:8]
        key = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
        return cls(named, bytes(byte ^ 0x36 for byte in key), bytes(byte ^ 0x5C for byte in key))

    def digest(self, message: bytes) -> bytes:
        """HMAC-SHA-256."""
        return hashlib.sha256(self.outer + hashlib.sha256(self.inner + message).digest()).digest()


def id_of(secret: SecretStr | None) -> str | None:
    """Id of the key of the settings' `rollup.distinct_key`; None if there is none."""
    key = DistinctKey.of(secret)
    return None if key is None else key.id
