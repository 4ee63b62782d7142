"""A key for the tests of this folder."""

import pytest
from pydantic import SecretStr

from fleetgauge.errors import sure
from fleetgauge.privacy.distinct_key import DistinctKey


@pytest.fixture
def secret_key() -> DistinctKey:
    """Of fingerprints and digests."""
    return sure(DistinctKey.of(SecretStr("k" * 40)), "a key")
