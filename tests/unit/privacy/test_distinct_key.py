"""The key of fingerprints: standard HMAC, an id that says nothing, and a version of its own."""

import hashlib
import hmac
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, TypeAdapter

from fleetgauge.errors import Terminal, sure
from fleetgauge.privacy.distinct_key import DistinctKey
from fleetgauge.rollup.definitions.definition import Definition, of_plain
from fleetgauge.rollup.definitions.loader import DefinitionError, load_definition
from fleetgauge.rollup.sketches import distinct
from fleetgauge.rollup.sources.port import key_of
from fleetgauge.settings import load

ADAPTER: TypeAdapter[Definition] = TypeAdapter(Definition)
METRIC = """
source: operations
event_time: at
measures:
  riders: {agg: distinct, of: rider}
"""


def key(text: str) -> DistinctKey:
    return sure(DistinctKey.of(SecretStr(text)), "a key")


def metric(**measures: dict[str, object]) -> Definition:
    one = {"metric": "m", "source": "operations", "event_time": "at", "source_sql": "SELECT at, rider FROM facts"}
    return ADAPTER.validate_python({**one, "measures": measures})


@given(st.text(min_size=1, max_size=200), st.text(max_size=100))
def test_the_digest_is_hmac_of_rfc_2104(secret: str, value: str) -> None:
    message = value.encode()
    assert key(secret).digest(message) == hmac.digest(secret.encode(), message, "sha256")
    wanted = hmac.digest(secret.encode(), message, "sha256")[:8]
    assert distinct.hashed(value, key(secret)) == int.from_bytes(wanted, "big")


def test_a_key_shows_its_id_alone_and_the_id_is_no_hash_of_the_key_by_itself() -> None:
    secret = "a key of more than thirty-two characters"
    one = key(secret)
    assert secret not in repr(one)
    assert one.inner.hex() not in repr(one)
    assert str(one.inner) not in repr(one)
    assert one.id not in hashlib.sha256(secret.encode()).hexdigest()
    assert one.id == key(secret).id != key(f"{secret}!").id


def test_another_key_makes_another_version_of_what_counts_persons_alone() -> None:
    persons = metric(riders={"agg": "distinct", "of": "rider"})
    harmless = metric(riders={"agg": "distinct", "of": "rider", "personal": False})
    assert len({persons.version, persons.keyed("0a").version, persons.keyed("0b").version}) == 3
    assert persons.version == harmless.version == harmless.keyed("0a").version  # as it was before there were keys
    both = metric(
        riders={"agg": "distinct", "of": "rider"}, others={"agg": "distinct", "of": "rider", "personal": False}
    )
    all_persons = metric(riders={"agg": "distinct", "of": "rider"}, others={"agg": "distinct", "of": "rider"})
    assert both.keyed("0a").version != all_persons.keyed("0a").version
    assert of_plain(both.keyed("0a").plain(), "v") == both.keyed("0a")


def test_nothing_is_computed_without_the_key_that_the_version_names() -> None:
    persons = metric(riders={"agg": "distinct", "of": "rider"})
    one, other = key("1" * 32), key("2" * 32)
    assert key_of(persons.keyed(one.id), one) == one
    assert key_of(metric(n={"agg": "count"}), None) is None
    with pytest.raises(Terminal, match=r"rollup\.distinct_key is not set; make one with fleetgauge metrics key"):
        key_of(persons, one)
    for wrong in (other, None):
        with pytest.raises(Terminal, match=one.id):
            key_of(persons.keyed(one.id), wrong)


def test_the_id_cannot_stand_in_a_metric_yaml(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "source.sql").write_text("SELECT at, rider FROM facts")
    (folder / "metric.yaml").write_text(f"{METRIC}distinct_key: 0a\n")
    with pytest.raises(DefinitionError, match=r"distinct_key comes from rollup\.distinct_key of the settings"):
        load_definition(folder)


def test_a_short_key_is_refused_and_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLEETGAUGE_ROLLUP__DISTINCT_KEY", "tooshortakey")
    with pytest.raises(Terminal, match="shorter than 32 characters; make one with fleetgauge metrics key") as told:
        load()
    assert "tooshortakey" not in str(told.value)
