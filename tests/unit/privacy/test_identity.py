"""What counts as an id, and where it is found."""

import json

import msgspec
import pytest

from fleetgauge.privacy.distinct_key import DistinctKey
from fleetgauge.privacy.erased import Erased
from fleetgauge.privacy.identity import Identity, canonical, digest, is_telling, names_of
from fleetgauge.privacy.redaction import decoded, redacted, values_at

UUID = "3f2b8c1e-77aa-4a0d-9b1e-0f6f2a55c9d1"
NAMES = names_of("rider", ["rider_id", "group[]"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plain", f"the rider {UUID}."),
        ("quoted", f'{{"a": "{UUID}"}}'),
        ("other case", UUID.upper()),
        ("URL", "rider%3D" + UUID.replace("-", "%2D") + "%26"),
        ("URL twice", "x%253D" + UUID.replace("-", "%252d")),
        ("every character of a URL", "".join(f"%{ord(c):02X}" for c in UUID)),
        ("JSON's escapes", "".join(f"\\u{ord(c):04x}" for c in UUID)),
        ("JSON in JSON", json.dumps(json.dumps(UUID)[1:-1])),
        ("JSON's escapes in JSON", json.dumps("".join(f"\\u{ord(c):04X}" for c in UUID))),
        ("after a line end in JSON", f"x\\n{UUID}"),
        ("in another id", f"trip_{UUID}_1"),
    ],
)
def test_an_id_is_found_however_it_is_written(name: str, text: str) -> None:
    one = Identity(UUID)
    assert one.is_in(text), name
    left = one.blotted(text)
    assert not one.is_in(left) and one.blotted(left) == left
    assert one.blotted_bytes(b"\xff" + text.encode()).startswith(b"\xff")


@pytest.mark.parametrize("text", [f"{UUID}0", f"a{UUID}", UUID[:-1], "nothing", ""])
def test_another_id_is_left_alone(text: str) -> None:
    assert not Identity(UUID).is_in(text)


def test_an_id_of_mixed_case_is_itself_alone() -> None:
    assert canonical("aB3x") == "aB3x" and canonical("AB3X") == "ab3x" == canonical("ab3x")
    assert Identity("aB3x").spellings == ("aB3x",) and not Identity("aB3x").is_in("ab3X")


def test_a_short_id_is_a_persons_only_beside_the_name_of_a_field() -> None:
    assert not is_telling("42") and not is_telling("abc") and is_telling("r-42") and is_telling("123456789")
    one = Identity("42", NAMES)
    for text in ('{"rider_id": 42', '{"rider_id":"42"', "Key (rider_id)=(42)", '\\"riderId\\": 42,', "group=42"):
        assert one.is_in(text), text
    for text in ("42 rows", '"bytes": 42', "rider_id=421", "rider_id: 7, n: 42"):
        assert not one.is_in(text), text
    document = {"rider_id": 42, "speed": 42, "deep": [{"riderId": "42"}], "group": [42, 7]}
    assert redacted(document, one, frozenset({"rider_id", "group[]"})) == {"speed": 42, "deep": [{}], "group": [7]}


def test_a_document_keeps_what_is_not_the_id() -> None:
    one = Identity("R-0042", NAMES)
    document = {
        "a": "r-0042",
        "b": {"c": ["x", "R-0042", {"d": "seen r-0042 twice"}]},
        "r-0042": 1,
        "e": True,
        "n": 4.5,
    }
    left = redacted(document, one)
    assert left == {"b": {"c": ["x", {"d": "seen (erased) twice"}]}, "(erased)": 1, "e": True, "n": 4.5}
    assert redacted(left, one) == left and redacted("R-0042", one) is None


def test_values_are_found_by_path() -> None:
    document = {"a": {"b": [{"c": 1}, {"c": [2, 3]}, 4]}, "l": [["x"], ["y"]]}
    assert values_at(document, "a.b[].c") == [1, [2, 3]]
    assert values_at(document, "l[][]") == ["x", "y"]
    assert values_at(document, "a.x") == values_at(document, "a[]") == []


def test_a_list_of_digests_knows_whom_it_holds_and_nobody_else(secret_key: DistinctKey) -> None:
    erased = Erased(secret_key, frozenset({digest("r-0042", secret_key), digest(77, secret_key)}))
    assert erased and erased.holds("R-0042") and erased.holds(77) and erased.holds("77")
    assert not erased.holds("r-0043") and not erased.holds(True) and not erased.holds(None) and not erased.holds(["77"])
    for data in (b'{"rider": "R-0042"', b"x=r%2D0042&", b'{"rider": "\\u0072-0042', b"\xff r-0042 \xfe"):
        assert [one.id.lower() for one in erased.named_in(data, NAMES)] == ["r-0042"], data
    assert [one.id for one in erased.named_in(b'{"rider_id": 77, "n"', NAMES)] == ["77"]
    assert erased.named_in(b'{"bytes": 77, "x"', NAMES) == []
    assert "0042" not in repr(erased) and "0042" not in repr(Identity("r-0042"))


def test_numbers_stay_as_they_are_written() -> None:
    """Also beyond a double, and beyond 64 bits: such documents are stored."""
    one = Identity("R-0042", names_of("rider", ["rider_id"]))
    payload = b'{"a":1e400,"b":[1.50,-0.0],"rider_id":"R-0042","c":{"d":18446744073709551616}}'
    left = redacted(decoded(payload), one)
    assert msgspec.json.encode(left) == b'{"a":1e400,"b":[1.50,-0.0],"c":{"d":18446744073709551616}}'
