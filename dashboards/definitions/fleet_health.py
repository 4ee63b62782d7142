"""Fleet health: which vehicles are suspects and why, which are silent, what devices report as broken, who fell over."""

# ruff: noqa: S608 - queries are put together from this package's constants; nothing that a viewer types is among them

from collections.abc import Sequence

from grafana_foundation_sdk.builders import common, dashboard, geomap
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.common import FrameGeometrySourceMode
from grafana_foundation_sdk.models.dashboard import Panel

from dashboards.annotations import Annotation, firmware_annotation, provisional_annotation, restated_annotation
from dashboards.buckets import sample_variable
from dashboards.cells import WRAPPED, number
from dashboards.frame import Filter, filled, filter_link, new_dashboard, of_range, stretch
from dashboards.panels import (
    COLOURS,
    DOWNWARDS,
    FULL,
    HALF,
    OTHERS,
    bars,
    colour,
    day_bars,
    prop,
    table_panel,
    thresholds,
    tile,
)
from dashboards.postgres import Sql, datasource
from dashboards.views import of_metric

UID = "fleetgauge-fleet-health"
FILTERS = (Filter("vehicle_model", "Vehicle model", "tip_over"),)
FALLS = of_metric("tip_over", FILTERS, "stem_fall")
FALLS_BY_MODEL = FALLS.needing("vehicle_model")
ERRORS = of_metric("device_error", FILTERS, "stem_error")
ERRORS_BY_CODE = ERRORS.needing("error_code")
ERRORS_BY_SEVERITY = ERRORS.needing("error_code", "severity")
STRETCH = stretch("device_error")
OF_SUSPECTS = "Not filtered by model. Source: metrics.suspect_vehicle_day; docs/suspects.md."
OF_SILENCE = "Not filtered by model. Source: metrics.device_silence_day; docs/metrics/device_report.md."
OF_ERRORS = "Source: metrics.device_error_$grain, or its smallest subset that fits; docs/metrics/device_error.md."
OF_FALLS = "Source: metrics.tip_over_$grain; docs/metrics/tip_over.md."
MOST_CODES = COLOURS - 1
EVIDENCE_DAYS = 28

AS_OF = """
  SELECT max(date) AS day FROM metrics.suspect_vehicle_day
  WHERE date BETWEEN ($__timeTo()::timestamptz AT TIME ZONE 'Asia/Seoul')::date - 60
    AND ($__timeTo()::timestamptz AT TIME ZONE 'Asia/Seoul')::date"""
SUSPECTS = f"""
WITH as_of AS ({AS_OF}
), suspect AS (
  SELECT s.* FROM as_of CROSS JOIN LATERAL metrics.suspects(as_of.day) AS s
)"""
SUSPECTS_COUNT = f"""{SUSPECTS}
SELECT count(s.vehicle) AS "suspects" FROM as_of LEFT JOIN suspect AS s ON true WHERE as_of.day IS NOT NULL
HAVING count(*) > 0"""
LAST_DAY = """
  SELECT max(date) AS day FROM metrics.device_report_day
  WHERE NOT provisional
    AND window_start BETWEEN $__timeTo()::timestamptz - interval '40 days' AND $__timeTo()::timestamptz
    AND window_start + interval '1 day' <= $__timeTo()::timestamptz"""
SILENT = f"""
WITH last AS ({LAST_DAY}
), silent AS (
  SELECT s.device, s.heard_at, s.quiet_s, s.period_s, s.usual_reports FROM metrics.device_silence_day AS s
  WHERE s.date = (SELECT day FROM last) AND s.silent
    AND s.window_start BETWEEN $__timeTo()::timestamptz - interval '40 days' AND $__timeTo()::timestamptz
)"""


def build() -> tuple[dashboard.Dashboard, Sequence[Annotation]]:
    """The dashboard and its annotations."""
    found = new_dashboard(
        UID,
        "Fleet health: suspects, silence, faults, falls",
        "Vehicles that may stop while somebody rides them, devices that are silent, faults by code, falls. Times are "
        "those of the devices' clocks; days are Asia/Seoul days.",
        ["fleet"],
        FILTERS,
        ["device_error"],
    ).with_variable(_vehicle())
    for views in (FALLS, FALLS_BY_MODEL, ERRORS, ERRORS_BY_CODE, ERRORS_BY_SEVERITY):
        found = found.with_variable(views.variable())
    found = found.with_variable(sample_variable(None))
    rows = (
        (f"Now, and over the range{STRETCH}", _tiles()),
        ("Suspects: vehicles that may stop under their rider", _suspects()),
        ("Silent devices", _silent()),
        ("Faults and falls", _faults()),
    )
    return filled(found, rows), [
        provisional_annotation("device_error_by_code", "device_error"),
        firmware_annotation(),
        restated_annotation("device_error"),
    ]


def _vehicle() -> dashboard.QueryVariable:
    """Whose evidence is shown; the first of the list at first."""
    return (
        dashboard.QueryVariable("vehicle")
        .label("Vehicle")
        .description("Whose evidence is shown below; click a suspect to choose it.")
        .datasource(datasource())
        .query(f"{SUSPECTS.strip()}\nSELECT vehicle FROM suspect ORDER BY score DESC, vehicle")
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.DISABLED)
        .multi(False)
        .include_all(False)
        .current(model.VariableOption(text="", value=""))
    )


def _tiles() -> list[Builder[Panel]]:
    return [
        tile(
            "Suspects",
            f"Vehicles with a score of 0 or more as of the newest judged day, up to the range's end. {OF_SUSPECTS}",
            Sql(SUSPECTS_COUNT),
            no_value="none judged",
        ),
        tile(
            "Judged up to",
            f"The newest day of which it is known who stopped. It waits until trips and reports are in. {OF_SUSPECTS}",
            Sql(
                f"""
                WITH as_of AS ({AS_OF}
                )
                SELECT extract(epoch FROM day) * 1000 AS "day" FROM as_of WHERE day IS NOT NULL"""
            ),
            unit="time:MMM D",
            no_value="none yet",
        ),
        tile(
            "With a fault",
            "Of the suspects that mechanics looked at in the last month, how many had a fault. Not filtered by model. "
            "Source: metrics.suspect_precision; docs/suspects.md.",
            Sql(
                'SELECT precision::float8 AS "with a fault" FROM metrics.suspect_precision ORDER BY month DESC LIMIT 1'
            ),
            unit="percentunit",
            decimals=0,
            no_value="none looked at",
        ),
        tile(
            "Silent",
            f"Devices without a report on the newest final day that had some within two weeks before. {OF_SILENCE}",
            Sql(f'{SILENT}\nSELECT count(*) AS "silent" FROM silent'),
        ),
        tile(
            "Faults",
            f"Errors that the devices' firmware reported in the range. {OF_ERRORS}",
            Sql(
                f"""
                SELECT bucket_start AS "time", sum(errors) AS "errors" FROM {ERRORS.rows()} GROUP BY 1 ORDER BY 1""",
                "time_series",
            ),
            no_value="none",
        ),
        tile(
            "Fallen over",
            f"Falls in the range; a vehicle that fell twice counts twice. {OF_FALLS}",
            Sql(
                f"""
                SELECT bucket_start AS "time", sum(fallen) AS "fallen" FROM {FALLS.rows()} GROUP BY 1 ORDER BY 1""",
                "time_series",
            ),
            no_value="none",
        ),
    ]


def _suspects() -> list[Builder[Panel]]:
    link = filter_link(UID, "vehicle", "Its evidence", FILTERS)
    listed = table_panel(
        "Suspects, the likeliest first",
        "The highest score first; click a vehicle for its evidence. Score: what speaks for and against it over two "
        f"weeks, as log-odds; probability is the same between 0 and 1. {OF_SUSPECTS}",
        Sql(
            f"""{SUSPECTS}
            SELECT s.vehicle AS "Vehicle", s.score AS "Score", s.probability AS "Probability",
              to_char(s.last_stop, 'YYYY-MM-DD') AS "Last stop", s.because AS "Mostly because"
            FROM suspect AS s ORDER BY s.score DESC, 1 LIMIT 100"""
        ),
    )
    evidence = table_panel(
        "Evidence $vehicle",
        "Each day of the last four weeks on which the chosen vehicle stood for long at the end of a trip: every reason "
        "with its points, and the events behind it: an event's id finds the document in Elasticsearch. "
        f"{OF_SUSPECTS}",
        Sql(
            f"""
            WITH as_of AS ({AS_OF})
            SELECT to_char(s.date, 'YYYY-MM-DD') AS "Day", (reason ->> 'points')::float8 AS "Points",
              reason ->> 'words' AS "Reason",
              (SELECT string_agg(format('%s at %s: %s', event ->> 'what',
                  to_char(to_timestamp((event ->> 'at_ms')::float8 / 1000) AT TIME ZONE 'Asia/Seoul', 'HH24:MI'),
                  event ->> 'id'), '; ' ORDER BY event ->> 'at_ms')
                FROM jsonb_array_elements(reason -> 'events') AS event) AS "Events"
            FROM as_of JOIN metrics.suspect_vehicle_day AS s ON s.date BETWEEN as_of.day - {EVIDENCE_DAYS} AND as_of.day
            CROSS JOIN jsonb_array_elements(s.evidence) AS trip
            CROSS JOIN jsonb_array_elements(trip -> 'reasons') AS reason
            WHERE s.vehicle = ${{vehicle:sqlstring}}
            ORDER BY s.date DESC, trip ->> 'trip_ended_ms' DESC, 2 DESC"""
        ),
    )
    return [
        listed.height(10)
        .no_value("none")
        .override_by_name("Vehicle", [link, prop("custom.width", 85)])
        .override_by_name("Score", [*number("none", 1), prop("custom.width", 70)])
        .override_by_name("Probability", [*number("percentunit", 0), prop("custom.width", 95)])
        .override_by_name("Mostly because", [WRAPPED])
        .override_by_name("Last stop", [prop("custom.width", 95)]),
        evidence.height(10)
        .no_value("none")
        .override_by_name("Day", [prop("custom.width", 105)])
        .override_by_name("Points", [*number("none", 1), prop("custom.width", 70)])
        .override_by_name("Reason", [WRAPPED])
        .override_by_name("Events", [WRAPPED]),
    ]


def _silent() -> list[Builder[Panel]]:
    listed = table_panel(
        "Devices silent by their own period",
        "Those that had been quiet, at the end of the newest final day, for three times their own period and for an "
        "hour at least, the longest first. Usually: for how long the device is quiet, and reports of its day. "
        f"{OF_SILENCE}",
        Sql(
            f"""{SILENT}
            SELECT s.device AS "Device",
              to_char(s.heard_at AT TIME ZONE 'Asia/Seoul', 'YYYY-MM-DD HH24:MI') AS "Last heard",
              s.quiet_s AS "Quiet for", s.period_s AS "Usually", s.usual_reports AS "Usual reports"
            FROM silent AS s ORDER BY 3 DESC, 5 DESC, 1 LIMIT 100"""
        ),
    )
    return [
        listed.no_value("none")
        .override_by_name("Last heard", [prop("custom.width", 140)])
        .override_by_name("Quiet for", number("dtdurations", 0))
        .override_by_name("Usually", number("dtdurations", 0))
        .override_by_name("Usual reports", number("locale", 0)),
        day_bars(
            "Devices that report, per day",
            "Different devices with a report on each day of the range, or of its last 14 days. "
            f"{OF_SILENCE.replace('device_silence_day', 'device_report_day')}",
            Sql(
                """
                SELECT window_start AS "time", count(*) FILTER (WHERE reports > 0) AS "devices"
                FROM metrics.device_report_day
                WHERE window_start BETWEEN
                    least($__timeFrom()::timestamptz, $__timeTo()::timestamptz - interval '14 days')
                  AND $__timeTo()::timestamptz
                GROUP BY 1 ORDER BY 1"""
            ),
        ).override_by_name("time", [*number("time:MM/DD"), prop("noValue", " ")]),
    ]


def _map() -> Builder[Panel]:
    """Where vehicles fell, by map tile: a tile's middle is worked out of its zoom, x and y."""
    layer = (
        common.MapLayerOptions()
        .type("markers")
        .name("Falls")
        .location(common.FrameGeometrySource().mode(FrameGeometrySourceMode.COORDS).latitude("lat").longitude("lng"))
        .tooltip(True)
        .config(
            {
                "showLegend": False,
                "style": {
                    "color": {"fixed": "dark-orange"},
                    "opacity": 0.6,
                    "size": {"field": "Fallen", "fixed": 8, "min": 5, "max": 22},
                    "symbol": {"mode": "fixed", "fixed": "img/icons/marker/circle.svg"},
                },
            }
        )
    )
    return (
        geomap.Panel()
        .title("Where vehicles fell")
        .description(
            "Falls by map tile, some 970 m wide: the larger, the more fell there. The background map is "
            "loaded by the browser. Not filtered by model. Source: metrics.tip_over_tile_$grain; "
            "docs/metrics/tip_over_tile.md."
        )
        .datasource(datasource())
        .with_target(
            Sql(
                f"""
                WITH fallen AS (
                  SELECT tile, sum(fallen) AS fallen FROM {of_range("tip_over_tile", "range")}
                  WHERE tile ~ '^[0-9]+/[0-9]+/[0-9]+$' GROUP BY 1 HAVING sum(fallen) > 0
                ), parts AS (
                  SELECT tile, fallen, power(2, split_part(tile, '/', 1)::integer) AS n,
                    split_part(tile, '/', 2)::integer + 0.5 AS x, split_part(tile, '/', 3)::integer + 0.5 AS y
                  FROM fallen
                )
                SELECT degrees(atan(sinh(pi() * (1 - 2 * y / nullif(n, 0))))) AS "lat",
                  x / nullif(n, 0) * 360 - 180 AS "lng", fallen AS "Fallen", tile AS "Tile"
                FROM parts ORDER BY 3 DESC, 4 LIMIT 1500"""
            )
        )
        .unit("locale")
        .no_value("none")
        .thresholds(thresholds(None))
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.CONTINUOUS_YL_RD))
        .view(geomap.MapViewConfig().id("fit").all_layers(True).lat(37).lon(127).zoom(11).max_zoom(15))
        .layers([layer])
        .span(HALF)
        .height(12)
    )


def _faults() -> list[Builder[Panel]]:
    codes = table_panel(
        f"Faults by code{STRETCH}",
        f"One row a code and severity, the most frequent first. {OF_ERRORS}",
        Sql(
            f"""
            SELECT error_code AS "Code", severity AS "Severity", sum(errors) AS "Errors",
              (sum(errors) / nullif(sum(sum(errors)) OVER (), 0))::float8 AS "Share"
            FROM {ERRORS_BY_SEVERITY.rows(per="range")} GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2"""
        ),
        span=10,
    )
    return [
        bars(
            f"Faults by code per $bucket{STRETCH}",
            f"Errors that devices reported: the {MOST_CODES} most frequent codes, and all others together. {OF_ERRORS}",
            Sql(
                f"""
                WITH most AS (
                  SELECT error_code FROM {ERRORS_BY_CODE.rows(per="range")}
                  GROUP BY 1 ORDER BY sum(errors) DESC, 1 LIMIT {MOST_CODES}
                )
                SELECT bucket_start AS "time",
                  CASE WHEN error_code IN (SELECT error_code FROM most) THEN error_code ELSE '{OTHERS}' END AS metric,
                  sum(errors) AS "errors"
                FROM {ERRORS_BY_CODE.rows()} GROUP BY 1, 2 ORDER BY 1, 2""",
                "time_series",
            ),
            unit="locale",
            stacked=True,
            span=14,
        ).no_value("none"),
        codes.no_value("none")
        .override_by_name("Severity", [prop("custom.width", 85)])
        .override_by_name("Errors", [*number("locale", 0), prop("custom.width", 65)])
        .override_by_name("Share", [*number("percentunit", 1), prop("custom.width", 70)]),
        _map(),
        bars(
            "Falls by model per $bucket",
            f"Vehicles that fell over, stacked by model. Wind makes all rise, a bad stand one model. {OF_FALLS}",
            Sql(
                f"""
                SELECT bucket_start AS "time", vehicle_model AS metric, sum(fallen) AS "fallen"
                FROM {FALLS_BY_MODEL.rows()} GROUP BY 1, 2 ORDER BY 1, 2""",
                "time_series",
            ),
            unit="locale",
            stacked=True,
            span=HALF,
        )
        .no_value("none")
        .height(12),
        bars(
            "Fallen and set upright per $bucket",
            "Vehicles that fell over, and downwards those that somebody set upright: the difference is still lying. "
            f"{OF_FALLS}",
            Sql(
                f"""
                SELECT bucket_start AS "time", sum(fallen) AS "fallen", sum(righted) AS "set upright"
                FROM {FALLS.rows()} GROUP BY 1 ORDER BY 1""",
                "time_series",
            ),
            unit="locale",
            span=FULL,
        )
        .no_value("none")
        .override_by_name("fallen", [colour("orange")])
        .override_by_name("set upright", [colour("blue"), DOWNWARDS]),
    ]
