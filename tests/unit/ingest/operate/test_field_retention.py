"""A document without a field is otherwise the same, byte by byte."""

import pytest

from fleetgauge.ingest.operate.field_retention import without


@pytest.mark.parametrize(
    ("source", "left"),
    [
        (b'{"a":1,"location":{"lat":1.50,"lng":2},"n":1e400}', b'{"a":1,"n":1e400}'),
        (b'{"geo.location":[2.000000,1.5],"location": null}', b"{}"),
        (b'{"trip":{"end":{"lat":1,"x":[1.0]},"n":2}}', b'{"trip":{"end":{"x":[1.0]},"n":2}}'),
        (b'{"trip":{"end":7}}', None),
        (b'{"trip":{"end.lat":1,"n":"\\u0041"}}', b'{"trip":{"n":"\\u0041"}}'),
        (b'{"trip.end.lat":1,"b":true}', b'{"b":true}'),
        (b'{"trip":[1],"b":{}}', None),
        (b'{"b":"location"}', None),
    ],
)
def test_a_field_goes_and_nothing_else_changes(source: bytes, left: bytes | None) -> None:
    fields = ["geo.location", "location", "trip.end.lat"]
    found = without(source, fields)
    assert found == left
    assert found is None or without(found, fields) is None
