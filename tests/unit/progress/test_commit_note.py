import pytest

from fleetgauge.progress.reading import CommitNote, new_reading


@pytest.mark.parametrize("note", [CommitNote(), CommitNote("a1"), CommitNote("a1", "2026-11-21T12:00:00+00:00")])
def test_a_note_survives_its_commit(note: CommitNote):
    assert CommitNote.parse(str(note)) == note


@pytest.mark.parametrize("metadata", [None, "", "by hand", "[1]", '{"reading": 7}', '"text"', "{}"])
def test_what_somebody_else_committed_has_no_reading(metadata: str | None):
    assert CommitNote.parse(metadata) == CommitNote()


def test_readings_differ():
    assert len({new_reading() for _ in range(100)} - {""}) == 100
