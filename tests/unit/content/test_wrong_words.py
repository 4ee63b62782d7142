"""Inputs of new users, each with the line and the words that it is answered with."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fleetgauge.cli.app import app
from fleetgauge.files import strict_yaml
from fleetgauge.files.text import Unreadable
from fleetgauge.lint import check
from fleetgauge.rollup import read_definitions
from fleetgauge.rollup.definitions import source_sql, views_sql

ROOT = Path(__file__).parents[3]
METRIC = "metric: ride\nsource: operations\nevent_time: began\nmeasures:\n  rides: {agg: count}\n"
SOURCE = "SELECT began\nFROM rides\n"


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def problem(root: Path, more: str = "", source: str = SOURCE) -> str:
    write(root, "sql/metrics/ride/metric.yaml", METRIC + more)
    write(root, "sql/metrics/ride/source.sql", source)
    return "\n".join(check(root).problems)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("retention: {minute: 99999999999999d}\n", "6: retention.minute: '99999999999999d' is longer than 100 years"),
        ("retention: {minute: " + "9" * 5000 + "d}\n", "is longer than 100 years"),
        ("  eu: {agg: count, where: {dest: NO}}\n", '6: NO is a text to some and a truth value to others; write "NO"'),
        ("  fw: {agg: count, where: {firmware: 1.10}}\n", '6: 1.10 is a number that YAML would change; write "1.10"'),
        ("  n: {agg: count, where: {x: 1_000}}\n", '6: 1_000 is a number that YAML would change; write "1_000"'),
        ("  n: {agg: count, where: {x: 0o17}}\n", "6: 0o17 is a number that YAML would change"),
        ("  n: {agg: count, where: {x: 017}}\n", "6: 017 is a number that YAML would change"),
        ("  n: {agg: count, where: {x: 12:30:00}}\n", "6: 12:30:00 is a number that YAML would change"),
        ("  n: {agg: count, where: {x: 2026-01-02}}\n", '2026-01-02 is a date to YAML; write "2026-01-02" in quotes'),
        ("  n: {agg: count, where: {x: .nan}}\n", "6: .nan is a number that YAML would change"),
        ("  Norway: {agg: count}\n", "6: measures.Norway: 'Norway' is not an identifier"),
        ("dimensions: [zone]\n", "6: dimensions: is a list; write a mapping"),
        ("checks: {fail: rides > 0}\n", "6: checks.fail: is 'rides > 0'; write a list"),
        ("rollups: {Zone: []}\n", "up to 20"),
        ("owner: 7\n", "6: owner: is 7; write a text"),
    ],
)
def test_metric_yaml(tmp_path: Path, more: str, said: str) -> None:
    assert said in problem(tmp_path, more)


def test_the_limit_of_a_name_is_the_one_that_holds(tmp_path: Path) -> None:
    write(tmp_path, "sql/metrics/Ride/metric.yaml", METRIC.replace("ride", "Ride"))
    assert "up to 32" in "\n".join(check(tmp_path).problems)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("SELEC id\nFROM rides", 1, "is not SQL: begins with SELEC; did you mean SELECT?"),
        ("SELECT id\nFROMM rides r x", 2, "is not SQL: this cannot stand here near"),
        ("SELECT began\nFROM {{ ref('rides') }}", 2, "{{ begins a template, and nothing fills it in"),
        ("SELECT began\nFROM rides {% if x %}\nWHERE x\n{% endif %}", 2, "{% begins a template"),
        ("SELECT began\nFROM rides\nWHERE", 3, "is not SQL: something is missing after WHERE"),
        ("SELECT began,\n 'abc FROM rides", 2, "a quote or a comment that begins here is not closed"),
        ("SELECT (began\nFROM rides", 2, "a ) is missing"),
        ("SELECT began, now() AS x\nFROM rides", 1, "now gives another value each time"),
        ("SELECT began\nFROM rides\nWHERE began > pg_catalog.NOW() - interval '1 day'", 3, "NOW gives another value"),
        ("SELECT began, current_date\nFROM rides", 1, "current_date gives another value each time"),
        ("SELECT began, random()\nFROM rides", 1, "random gives another value each time"),
        ("SELECT began, clock_timestamp()\nFROM rides", 1, "clock_timestamp gives another value each time"),
        ("SELECT began, gen_random_uuid()\nFROM rides", 1, "gen_random_uuid gives another value each time"),
        ("SELECT began, age(began)\nFROM rides", 1, "age with one argument counts from today"),
        ("SELECT began\nFROM rides WHERE began > 'today'::timestamptz", 2, "'today' is another time each day"),
        ("SELECT began\nFROM rides WHERE began > 'tomorrow 12:00'", 2, "'tomorrow 12:00' is another time each day"),
        ("SELECT began\nFROM rides WHERE began < ('now UTC')::timestamptz", 2, "'now UTC' is another time each day"),
        ("SELECT began\nFROM rides WHERE began >= date('now')", 2, "'now' is another time each day"),
        ("SELECT began,\n coalesce(ended, 'now') AS ended FROM rides", 2, "'now' is another time each day"),
        ("SELECT began\nFROM rides WHERE day = ANY ('{today}'::date[])", 2, "'{today}' is another time each day"),
        ("SELECT began\nFROM rides WHERE rider = user", 2, "user gives another value each time"),
        ("SELECT began, ctid AS row FROM rides", 1, "ctid gives another value each time"),
        ("SELECT r.began,\n r.ctid AS row FROM rides AS r", 2, "ctid gives another value each time"),
        ("SELECT began FROM rides WHERE began < $$now$$::timestamptz", 1, "'now' is another time each day"),
        ("SELECT began FROM rides WHERE began < E'now'::timestamptz", 1, "'now' is another time each day"),
        ("SELECT began, pg_total_relation_size('rides') FROM rides", 1, "gives another value each time"),
        (
            "SELECT began,\n row_number() OVER (ORDER BY began) AS n\nFROM rides",
            2,
            "must have no window function (OVER)",
        ),
        ("SELECT DISTINCT ON (id) began\nFROM rides", 1, "must not have DISTINCT ON"),
        ("SELECT began\nFROM rides TABLESAMPLE SYSTEM (5)", 2, "TABLESAMPLE takes other rows each time"),
        ("SELECT began\nFROM rides\nLIMIT 5", 3, "must not have LIMIT"),
        ("SELECT began FROM (SELECT began\nFROM rides LIMIT 5) AS r", 2, "must not cut rows by LIMIT or OFFSET"),
        ("WITH r AS (SELECT began FROM rides OFFSET 5)\nSELECT began FROM r", 1, "must not cut rows by LIMIT"),
        ("SELECT began\nFROM rides\nFOR UPDATE", 3, "must only read"),
    ],
)
def test_source_sql(text: str, line: int, said: str) -> None:
    found = source_sql.problems(text)
    assert any(at == line and said in words for at, words in found), found


@pytest.mark.parametrize(
    "text",
    [
        "SELECT r.now, r.began AS localtime, age(r.began, r.ended) AS x FROM rides AS r WHERE r.word = 'now'",
        "SELECT r.user, 'nowhere'::text AS x, 'todays'::text AS y FROM rides AS r WHERE r.word IN ('today', 'now')",
        "SELECT began, '{{1,2},{3,4}}'::int[] AS x FROM rides",
        "SELECT began, (SELECT p.price FROM prices AS p WHERE p.at < r.began ORDER BY p.at LIMIT 1) FROM rides AS r",
        "SELECT began, p.price FROM rides AS r CROSS JOIN LATERAL (SELECT price FROM prices LIMIT 1) AS p",
    ],
)
def test_what_only_looks_like_it_passes(text: str) -> None:
    assert source_sql.problems(text) == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("CREATE VIEW metrics.a AS SELECT 1;\nDROP TABLE store.x", 2),
        ("DROP VIEW metrics.a", 1),
        ("CREATE TABLE metrics.a AS SELECT 1", 1),
        ("CREATE MATERIALIZED VIEW metrics.a AS SELECT 1", 1),
        ("CREATE TEMP VIEW a AS SELECT 1", 1),
        ("CREATE VIEW public.a AS SELECT 1", 1),
        ("CREATE VIEW a AS SELECT 1", 1),
        ("DO $$ BEGIN PERFORM 1; END $$", 1),
        ("GRANT SELECT ON x TO y", 1),
        ("SELECT 1", 1),
        ("CREATE VIEW metrics.a AS WITH d AS (DELETE FROM x RETURNING *) SELECT * FROM d", 1),
        ("CREATE VIEW metrics.a AS SELECT pg_read_file('x')", 1),
        ("COMMENT ON TABLE metrics.a IS 'x'", 1),
        ("COMMENT ON VIEW store.a IS 'x'", 1),
        ("SET ROLE postgres", 1),
        ("COPY x FROM PROGRAM 'id'", 1),
        ("CREATE VIEW metrics.a AS", 1),
    ],
)
def test_views_sql_holds_views_alone(text: str, line: int) -> None:
    found = views_sql.problems(text)
    assert [at for at, _ in found][:1] == [line], found
    with pytest.raises(ValueError, match="line"):
        views_sql.statements(text)


def test_views_are_sent_one_by_one() -> None:
    text = "-- a\nCREATE VIEW metrics.a AS SELECT ';' AS x;\nCOMMENT ON COLUMN metrics.a.x IS 'it''s; so';\n"
    assert [one[:12] for one in views_sql.statements(text)] == ["CREATE VIEW ", "COMMENT ON C"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"sql/metrics/ride/metric.yml": METRIC},
            "ride/metric.yml:1: is read by nobody; rename it to metric.yaml",
        ),
        ({"sql/metrics/ride/Metric.yaml": METRIC}, "sql/metrics/ride/Metric.yaml:1: is read by nobody"),
        ({"sql/metrics/ride/source.sql": SOURCE}, "sql/metrics/ride/metric.yaml:1: is missing; write it"),
        ({"sql/metrics/team/ride/metric.yaml": METRIC}, "sql/metrics/team/ride/metric.yaml:1: lies a folder too deep"),
        ({"sql/metrics/metric.yaml": METRIC}, "sql/metrics/metric.yaml:1: is read by nobody; move it into the folder"),
        (
            {"sql/metrics/ok/metric.yaml": METRIC, "sql/metrics/ok/view.sql": ""},
            "view.sql:1: is read by nobody; rename",
        ),
        ({"sql/metrics/ok/metric.yaml": METRIC, "sql/metrics/ok/tests/a.yml": ""}, "a.yml:1: is read by nobody"),
    ],
)
def test_what_nobody_reads_is_told(tmp_path: Path, files: dict[str, str], said: str) -> None:
    for name, text in files.items():
        write(tmp_path, name, text)
    assert said in "\n".join(check(tmp_path).problems)


def test_one_bad_metric_leaves_the_others(tmp_path: Path) -> None:
    write(tmp_path, "sql/metrics/ride/metric.yaml", METRIC)
    write(tmp_path, "sql/metrics/ride/source.sql", SOURCE)
    write(tmp_path, "sql/metrics/bad/metric.yaml", "metric: bad\nsource: operations\n")
    loaded = read_definitions(tmp_path)
    assert list(loaded.valid) == ["ride"] and loaded.broken["bad"].source == "operations"
    ls = CliRunner().invoke(app, ["metrics", "ls", "--json"], env={"FLEETGAUGE_CONTENT": str(tmp_path)})
    assert [one["metric"] for one in json.loads(ls.stdout)] == ["ride"] and "sql/metrics/bad" in str(ls.exception)


def test_generated_docs_leave_lint_well(tmp_path: Path) -> None:
    assert problem(tmp_path) == ""
    assert CliRunner().invoke(app, ["metrics", "docs"], env={"FLEETGAUGE_CONTENT": str(tmp_path)}).exit_code == 0
    assert check(tmp_path).problems == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[kafka\n", ":1: is not TOML"),
        ("content = 'a'\ncontent = 'b'\n", ":2: is not TOML: a key or a table is set twice"),
        (
            "\n[kafka]\nbootstrap_server = 'x:1'\n",
            ":3: kafka.bootstrap_server: is not a known key; did you mean",
        ),
        ("[sources.operations]\nurll = 'x'\n", ":2: sources.operations.urll: is not a known key; did you mean url?"),
        ("[elasticsearch]\nrequest_timeout_s = 'soon'\n", ":2: elasticsearch.request_timeout_s: write a number"),
        ("content = 2026-13-01\n", ":1: is not TOML"),
    ],
)
def test_the_settings(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "fleetgauge.toml"
    file.write_text(text)
    done = CliRunner().invoke(app, ["--config", str(file), "lint"], env={"FLEETGAUGE_CONFIG": str(file)})
    assert f"{file}{said}" in str(done.exception)


@pytest.mark.parametrize("file", sorted((ROOT / "sql" / "metrics").glob("*/*.yaml")), ids=lambda file: file.parent.name)
def test_both_parsers_of_yaml_read_the_same(file: Path) -> None:
    """libyaml's, and Python's own, which a comment full of brackets demands."""
    text = file.read_text("utf-8")
    quick, plain = (strict_yaml.read(one, money=True) for one in (text, f"{text}\n# {'[' * 3_000}"))
    assert quick.value == plain.value
    assert quick.lines() == plain.lines()


@pytest.mark.parametrize("sign", ["[", "{a: ", "- ", "? "])
def test_what_is_nested_too_deeply_for_any_parser_ends_as_words(sign: str) -> None:
    with pytest.raises(Unreadable):
        strict_yaml.read(sign * 20_000)
