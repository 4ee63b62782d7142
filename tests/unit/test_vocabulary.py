"""One word for one thing: where docs/glossary.md has a term, the words that stood for it before do not come back."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUFFIXES = {".py", ".md", ".sql", ".yaml", ".toml", ".mako"}
FROZEN = (
    "src/fleetgauge/rollup/store/migrations/",  # what a migration did then
    "docs/faults.md",  # made from the tests
)

# The glossary's term → words that are not to stand for it, and where they are plain English: file, part of the line
# (lower case).
WORDS: dict[str, tuple[str, set[tuple[str, str]]]] = {
    "dead letter": (
        r"(?<!dead[ -])\bletters?\b(?!,? (and )?digits)",
        {
            ("docs/ingest.md", "letter (`record_time`)"),  # the line before ends with "dead"
            ("src/fleetgauge/contracts/patterns.py", "letter"),  # of a regular expression
            ("src/fleetgauge/rollup/definitions/definition.py", "beginning with a letter"),
            ("src/fleetgauge/rollup/definitions/definition.py", "the 40 letters that a view's name may have"),
            ("src/fleetgauge/rollup/definitions/validation_messages.py", "beginning with a letter"),
        },
    ),
    "to dead-letter": (r"\b(bury|buried|buries|burial)\b", set()),
    "quarantine": (r"\b(set|sets|setting|settings) apart\b", set()),
    "dead-letter topic": (r"\b(letter)?box\b", {("src/fleetgauge/cli/top.py", "box=none")}),
    "validator": (
        r"\bjudges?\b",
        {
            ("docs/README.md", "who judges a list of suspects"),
            ("docs/sudden-stops.md", "whoever judges a list of suspects"),
            ("docs/suspects.md", "judge what is new"),  # a day's suspects, whom somebody has to judge
            ("src/fleetgauge/cli/fleet.py", "judge"),
            ("src/fleetgauge/fleet/suspect_method.py", "judge"),
            ("src/fleetgauge/fleet/suspect_run.py", "judge"),
            ("src/fleetgauge/suspects.py", "judge"),
        },
    ),
    "run": (
        r"\bpass(es)?\b",
        {
            ("docs/late-data.md", "`a check passes again`"),
            ("src/fleetgauge/elasticsearch/answers.py", "likely to pass"),
            ("src/fleetgauge/ingest/check/decode.py", "passes(picked)"),
            ("src/fleetgauge/ingest/check/decode.py", "def passes("),
            ("src/fleetgauge/kafka/batches.py", "pass over so many bytes"),
            ("src/fleetgauge/kafka/login.py", "come to pass"),
            ("src/fleetgauge/rollup/execute/restatement_log.py", '"a check passes again"'),
            ("src/fleetlab/faults/proxy.py", "a single one passes"),
        },
    ),
    "to materialise, to merge": (
        r"\bfold(s|ed|ing)?\b",
        {("src/fleetlab/simulator/counts.py", "fold=0")},  # datetime's own word
    ),
    "watermark": (r"\b(frontiers?|horizons?)\b", set()),
    # What is left is one thing: the cell in which a row that can move is counted.
    "position, location": (
        r"(?<!in )\b_?places?\b",
        {
            ("docs/commands.md", "that takes its place"),
            ("src/fleetgauge/commands/sql/merge.sql", "at its place"),
            ("src/fleetgauge/rollup/execute/observe.py", "noted a place"),
            ("src/fleetgauge/rollup/execute/observe.py", "places = placements.known"),
            ("src/fleetgauge/rollup/execute/observe.py", "places=tuple(sorted(places))"),
            ("src/fleetgauge/rollup/operating/preview.py", "places = placements.known"),
            ("src/fleetgauge/rollup/operating/preview.py", "places=tuple(sorted(places))"),
            ("src/fleetgauge/rollup/plan/look.py", "places: sequence[cell]"),
            ("src/fleetgauge/rollup/plan/planner.py", "*look.places"),
            ("src/fleetgauge/rollup/sources/postgres_sql.py", "_place(definition"),
            ("src/fleetgauge/rollup/sources/postgres_sql.py", "def _place("),
            ("src/fleetgauge/rollup/sources/postgres_sql.py", "select {place} from"),
        },
    ),
    "distinct value": (r"\b(kept|keeps?) apart\b", set()),
    "to expire, to drop": (r"\b(let|lets|letting) go\b", set()),
    "metric test": (r"\bunit[ -]?tests?\b", {("docs/glossary.md", "| dbt: unit test |")}),
    "dashboard": (r"\bboards?\b", set()),
}


@cache
def texts() -> tuple[tuple[str, str], ...]:
    """File and text of all code and docs."""
    return tuple(
        (name, path.read_text(encoding="utf-8"))
        for folder in ("src", "docs")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in SUFFIXES and not (name := path.relative_to(ROOT).as_posix()).startswith(FROZEN)
    )


def lines(pattern: str) -> Iterator[tuple[str, int, str]]:
    """File, number and text of every line in which the pattern is found; most files have none, and are left at that."""
    for name, whole in texts():
        if re.search(pattern, whole, re.IGNORECASE):
            for number, text in enumerate(whole.splitlines(), 1):
                statement = text.strip() == "pass"
                if not statement and re.search(pattern, text, re.IGNORECASE):
                    yield name, number, text


@pytest.mark.parametrize("term", WORDS)
def test_one_word_stands_for_one_thing(term: str) -> None:
    pattern, plain_english = WORDS[term]
    wrong, unused = [], set(plain_english)
    for name, number, text in lines(pattern):
        allowed = {(at, part) for at, part in plain_english if at == name and part in text.lower()}
        unused -= allowed
        if not allowed:
            wrong.append(f"{name}:{number}: {text.strip()}")
    assert wrong == [], f"say {term!r}, as docs/glossary.md does"
    assert unused == set(), "allowed, but stands nowhere any more"
