"""A document without a field is otherwise the same, byte by byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetgauge.ingest.operate.field_retention import coarse, middle_of_tile, without


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


def test_a_map_point_becomes_the_middle_of_its_tile() -> None:
    """Tile 15/27944/12688, by the formula of the OpenStreetMap wiki: 127.001953 to 127.012939 east."""
    found = coarse(b'{"n":1e400,"geo.location":[127.002000,37.571200],"@timestamp":5}')
    assert found == b'{"n":1e400,"geo.location":[127.007446,37.575059],"@timestamp":5}'
    assert coarse(b'{"n":1e400}') == b'{"n":1e400}'


@given(st.floats(-180, 180), st.floats(-90, 90))
def test_the_middle_of_a_tile_is_its_own(longitude: float, latitude: float) -> None:
    middle = middle_of_tile(longitude, latitude)
    assert middle_of_tile(*(round(axis, 6) for axis in middle)) == middle
    assert abs(middle[0] - min(longitude, 180 - 360 / 2**16)) <= 360 / 2**16 + 1e-9
    assert abs(latitude) > 85.05 or abs(middle[1] - latitude) <= 360 / 2**16
