"""Map tiles, worked out here without the pipeline's help."""

from math import asinh, atan, degrees, exp, floor, pi, radians, tan

ZOOM = 15
"""As the metric `tip_over_tile` has it."""


def tile(said: str) -> str:
    """The tile, `zoom/x/y`, of what a report of falling over says (`Record.detail`)."""
    _, latitude, longitude = said.split()
    n = 2**ZOOM
    x = floor((float(longitude) + 180) / 360 * n)
    y = floor((1 - asinh(tan(radians(float(latitude)))) / pi) / 2 * n)
    return f"{ZOOM}/{x}/{y}"


def middle(one: str) -> tuple[float, float]:
    """Latitude and longitude of a tile's middle."""
    zoom, x, y = map(int, one.split("/"))
    latitude = degrees(2 * atan(exp(pi * (1 - 2 * (y + 0.5) / 2**zoom))) - pi / 2)
    return latitude, (x + 0.5) / 2**zoom * 360 - 180
