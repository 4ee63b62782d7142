"""`fleetlab simulate` with bad input: one sentence with the fix, no traceback."""

import sys
from pathlib import Path

import pytest

from fleetlab import cli


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--vehicles", "3"], 78, "vehicles is 3, outside 10 to 99999"),
        ([], 78, "fleetlab up"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str],
    code: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["fleetlab", "simulate", "--home", str(tmp_path), *arguments])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code == code
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1 and "Traceback" not in told
