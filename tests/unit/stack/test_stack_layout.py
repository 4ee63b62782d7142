"""Where things are put, above all when root's servers could not reach the home."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetgauge.errors import Terminal
from fleetlab.stack import layout
from fleetlab.stack.users import ServerUser, server_user

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's servers run as somebody else")


@pytest.fixture
def private_home() -> Iterator[Path]:
    """A home below a folder that nobody else can enter."""
    above = Path(tempfile.mkdtemp())  # mode 0700
    yield above / "lab"
    shutil.rmtree(above)
    layout.remove_orphans()


def test_a_reachable_home_holds_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "server_user", lambda: ServerUser("the caller"))
    folders = layout.prepare(tmp_path / "lab")
    assert folders.base == folders.home == tmp_path / "lab"
    assert folders.run.stat().st_mode & 0o777 == 0o700
    assert layout.find(folders.home) == folders
    folders.server_folder("kafka")
    folders.wipe()
    assert not folders.home.exists()


def test_wipe_leaves_what_is_not_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "server_user", lambda: ServerUser("the caller"))
    folders = layout.prepare(tmp_path)
    (tmp_path / "notes.txt").touch()
    folders.wipe()
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_home_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Terminal, match="choose another with --home"):
        layout.prepare(tmp_path / "file" / "lab")


@as_root
def test_an_unreachable_home_keeps_its_data_elsewhere(private_home: Path) -> None:
    folders = layout.prepare(private_home)
    assert folders.base != private_home
    assert (private_home / "data").resolve() == folders.data
    assert layout.find(private_home) == layout.prepare(private_home) == folders
    assert folders.base.stat().st_mode & 0o777 == 0o711
    assert server_user().reaches(folders.data)
    assert folders.server_folder("kafka").stat().st_uid == server_user().uid
    folders.wipe()
    assert not folders.base.exists()
    assert not private_home.exists()


@as_root
def test_deleting_the_home_orphans_the_fallback_which_then_goes(private_home: Path) -> None:
    base = layout.prepare(private_home).base
    layout.remove_orphans()
    assert base.exists()
    shutil.rmtree(private_home)
    layout.remove_orphans()
    assert not base.exists()


@as_root
def test_a_cleared_fallback_is_made_anew(private_home: Path) -> None:
    base = layout.prepare(private_home).base
    shutil.rmtree(base)
    assert layout.prepare(private_home).data.is_dir()


@as_root
def test_somebody_elses_fallback_is_not_used(private_home: Path) -> None:
    base = layout.prepare(private_home).base
    shutil.rmtree(private_home)
    os.chown(base, 65534, 65534)
    try:
        with pytest.raises(Terminal, match="belongs to somebody else"):
            layout.prepare(private_home)
    finally:
        shutil.rmtree(base)


@as_root
def test_unreachable_programs_are_copied_with_what_they_need(private_home: Path) -> None:
    folders = layout.prepare(private_home)
    site = private_home.parent / "site"
    for name, mode in (("pg/bin/postgres", 0o700), ("pg.libs/libpq.so", 0o600), ("other/x", 0o644)):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).touch(mode=mode)
    copy = folders.reachable(site, ["pg", "pg.libs"])
    assert copy.parent == folders.binaries
    assert sorted(p.name for p in copy.iterdir()) == ["pg", "pg.libs"]
    assert (copy / "pg/bin/postgres").stat().st_mode & 0o777 == 0o755
    assert (copy / "pg.libs/libpq.so").stat().st_mode & 0o777 == 0o644
    assert (site / "pg/bin/postgres").stat().st_mode & 0o777 == 0o700
    assert folders.reachable(site, ["pg", "pg.libs"]) == copy
    assert folders.reachable(Path("/usr"), ["bin"]) == Path("/usr")
