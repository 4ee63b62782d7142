"""How wide a point of a chart is: few enough to be seen, and of enough events to mean something.

All measures merge, so windows of the grain in use are put together: minutes to 5, 10, 15 or 30, hours to 2, 3, 4, 6 or
12, days to weeks. The SQL is plain enough for SQLite, where the unit tests ask it.
"""

# ruff: noqa: S608 - queries are put together from this package's constants; nothing that a viewer types is among them

from typing import Literal

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as model

from dashboards.postgres import datasource

BUCKET: Literal["bucket"] = "bucket"
SAMPLE: Literal["sample"] = "sample"
EACH: Literal["each"] = "each"
"""Hidden variables: the width of a point that sums; that of one that is a share or a quantile; and that of one where
each of several series is."""
POINTS = 200
"""So many at most: a chart half a screen wide has some 600 pixels."""
EVENTS = 30
"""Of fewer events a share or a quantile is chance; it is drawn as such."""
FEWEST_POINTS = 8
"""With fewer points nothing is wider for the sake of events: a course must be left to see."""
STEPS = (
    *(("minute" if n == 1 else f"{n} minutes", n) for n in (1, 5, 10, 15, 30)),
    *(("hour" if n == 1 else f"{n} hours", n * 60) for n in (1, 2, 3, 4, 6, 12)),
    *(("day" if n == 1 else f"{n} days", n * 1440) for n in (1, 7, 28)),
)
"""Each bucket, and how many minutes it has. Those of hours part a day evenly, 7 days are a week from a Monday on."""

_DRAWN = f"""
WITH step (bucket, minutes) AS (
  VALUES {", ".join(f"('{bucket}', {minutes})" for bucket, minutes in STEPS)}
), drawn AS (
  SELECT bucket, minutes, (${{__to}} - ${{__from}}) / 60000.0 / minutes + 2 AS points FROM step
  WHERE minutes >= CASE '${{grain}}' WHEN 'minute' THEN 1 WHEN 'hour' THEN 60 ELSE 1440 END
)""".strip()


def bucket_variable() -> dashboard.QueryVariable:
    """The narrowest bucket of the grain in use, or of a coarser one, of which few enough lie in the range."""
    return _hidden(
        BUCKET,
        f"""{_DRAWN}
SELECT bucket FROM drawn WHERE points <= {POINTS} OR minutes = {STEPS[-1][1]} ORDER BY minutes LIMIT 1""",
        "How wide a point of a chart is: one window of the grain in use, or as many as leave 200 points.",
    )


def sample_variable(events: str | None, name: Literal["sample", "each"] = SAMPLE) -> dashboard.QueryVariable:
    """The same for shares and quantiles: wide enough that a point has 30 events too, where that leaves a course.

    `events`: SQL of one row and one number, how many events the narrowed range has; None: not known. A grain that is
    wished is given.
    """
    enough = "" if events is None else f" AND (${{resolution:sqlstring}} <> 'auto' OR points <= {FEWEST_POINTS} + 2"
    enough += "" if events is None else f" OR coalesce(({events}), 0) >= {EVENTS} * points)"
    return _hidden(
        name,
        f"""{_DRAWN}
SELECT bucket FROM drawn WHERE minutes = {STEPS[-1][1]} OR points <= {POINTS}{enough}
ORDER BY minutes LIMIT 1""",
        "How wide a point of a share or a quantile is: wide enough for 30 events, where the range allows it.",
    )


def _hidden(name: str, query: str, description: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .hide(model.VariableHide.HIDE_VARIABLE)
        .description(description)
        .datasource(datasource())
        .query(query)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(False)
        .include_all(False)
        .current(model.VariableOption(text="hour", value="hour", selected=True))
    )
