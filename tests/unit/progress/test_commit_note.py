import pytest

from fleetgauge.progress.commit_note import CommitNote, new_epoch


@pytest.mark.parametrize("note", [CommitNote(), CommitNote("a1"), CommitNote("a1", "2026-11-21T12:00:00+00:00")])
def test_a_note_survives_its_commit(note: CommitNote):
    assert CommitNote.parse(str(note)) == note


def test_the_note_of_an_older_version_is_read_and_the_name_on_the_wire_stays():
    assert CommitNote.parse('{"reading":"a1"}') == CommitNote("a1")
    assert str(CommitNote("a1")) == '{"reading":"a1"}'


@pytest.mark.parametrize("metadata", [None, "", "by hand", "[1]", '{"reading": 7}', '"text"', "{}"])
def test_what_somebody_else_committed_has_no_epoch(metadata: str | None):
    assert CommitNote.parse(metadata) == CommitNote()


def test_epochs_differ():
    assert len({new_epoch() for _ in range(100)} - {""}) == 100
