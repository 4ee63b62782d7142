"""A column that does not fit is told with the line of the key in metric.yaml that is about it."""

from pathlib import Path

from fleetgauge.rollup.definitions.loader import load_definition
from fleetgauge.rollup.sources.column_kinds import ColumnError, problems

METRIC = """\
# Rides.
metric: ride
source: operations
event_time: at
dimensions:
  zone: {column: zon, limit: 4}

measures:
  n: {agg: count}
  fare:
    agg: sum
    # What riders pay.
    of: note
  late: {agg: count, where: {minutes: soon}}
"""


def test_each_problem_begins_with_file_and_line_and_names_the_measure(tmp_path: Path) -> None:
    folder = tmp_path / "sql" / "metrics" / "ride"
    folder.mkdir(parents=True)
    (folder / "metric.yaml").write_text(METRIC)
    (folder / "source.sql").write_text("SELECT at, zone, note, minutes FROM rides")
    one = load_definition(folder)
    columns = [("at", "timestamp"), ("zone", "text"), ("note", "text"), ("minutes", "int4")]
    told = str(ColumnError(one, problems(one, columns)))
    file = "sql/metrics/ride/metric.yaml"
    assert f"{file}:4: event_time: at is a timestamp without time zone" in told
    assert f"{file}:6: dimensions.zone.column: source.sql returns no column zon; did you mean zone?" in told
    assert f"{file}:13: measures.fare.of: note is text, and sum needs numbers" in told
    assert f"{file}:14: measures.late.where.minutes: minutes is int4, and cannot be compared with 'soon'" in told
    assert "lines" not in one.plain()
    assert one.line("measures.fare.of.no.such") == 13
    assert one.line("nowhere") == 1
