"""Where a stack keeps its things, also when the servers' account cannot reach the folder that was asked for."""

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fleetgauge.errors import Terminal
from fleetlab.stack.users import ServerUser, server_user

_REACHABLE = Path("/var/tmp")  # noqa: S108 (the fallback's owner and mode are checked before use)
_PREFIX = "fleetlab-"
_HOME_NOTE = "home"


def project_root() -> Path:
    """The checkout that holds `schemas/`, `sql/` and `dags/`; the working folder when installed elsewhere."""
    root = Path(__file__).resolve().parents[3]
    return root if (root / "pyproject.toml").is_file() else Path.cwd()


def default_home() -> Path:
    """`.lab` in the checkout."""
    return project_root() / ".lab"


def default_cache() -> Path:
    """`$FLEETLAB_CACHE`, else `~/.cache/fleetlab`."""
    named = os.environ.get("FLEETLAB_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "fleetlab"


@dataclass(frozen=True)
class Layout:
    """The folders of one stack.

    `base` is the home, or a folder below /var/tmp if the servers' account cannot enter the home.
    """

    home: Path
    base: Path
    user: ServerUser

    @property
    def run(self) -> Path:
        """State, passwords, pid files; only the caller can enter."""
        return self.home / "run"

    @property
    def logs(self) -> Path:
        """What the servers print; written through open files, so their account need not reach it."""
        return self.home / "logs"

    @property
    def data(self) -> Path:
        """One folder for each server, owned by its account."""
        return self.base / "data"

    @property
    def binaries(self) -> Path:
        """Programs that the servers' account could not reach where they are, linked or copied here."""
        return self.base / "bin"

    def server_folder(self, name: str) -> Path:
        """The data folder of one server, created and owned by the servers' account."""
        folder = self.data / name
        folder.mkdir(exist_ok=True)
        folder.chmod(0o700)
        self.user.own(folder)
        return folder

    def reachable(self, root: Path, parts: Sequence[str] = (".",)) -> Path:
        """`root` itself if the servers' account can enter those folders of it that are needed, else a linked copy."""
        if all(self.user.reaches(root / part) for part in parts):
            return root
        copy = self.binaries / f"{root.name}-{hashlib.sha256(str(root).encode()).hexdigest()[:8]}"
        if not copy.exists():
            partial = Path(tempfile.mkdtemp(prefix=".", dir=self.binaries))
            for part in parts:
                shutil.copytree(
                    root / part, partial / part, symlinks=True, copy_function=_link_or_copy, dirs_exist_ok=True
                )
            for folder in (partial, *(p for p in partial.rglob("*") if p.is_dir() and not p.is_symlink())):
                folder.chmod(0o755)
            try:
                partial.rename(copy)
            except OSError:  # another thread was quicker
                shutil.rmtree(partial)
        return copy

    def wipe(self) -> None:
        """Delete all of the stack: data, logs, state and what lies outside the home."""
        for folder in (self.data, self.binaries, self.run, self.logs):
            shutil.rmtree(folder, ignore_errors=True)
        link = self.home / "data"
        if link.is_symlink():
            link.unlink()
        if self.base != self.home:
            shutil.rmtree(self.base, ignore_errors=True)
        if self.home.is_dir() and not any(self.home.iterdir()):
            self.home.rmdir()


def find(home: Path) -> Layout:
    """The layout of `home`, an absolute path, without creating anything."""
    user = server_user()
    link = home / "data"
    if link.is_symlink():
        return Layout(home, link.resolve().parent, user)
    return Layout(home, home, user)


def make_run(home: Path) -> Path:
    """Create `home` and the folder for its state, which only the caller can enter. Raises `Terminal` if that fails."""
    run = home / "run"
    try:
        run.mkdir(mode=0o700, parents=True, exist_ok=True)
        run.chmod(0o700)
    except OSError as error:
        raise _unusable(home, error) from error
    return run


def prepare(home: Path) -> Layout:
    """Create all folders of `home`. Raises `Terminal` if it cannot be written."""
    make_run(home)
    try:
        (home / "logs").mkdir(exist_ok=True)
        layout = find(home)
        if not layout.base.is_dir():  # somebody cleared /var/tmp
            (home / "data").unlink()
            layout = find(home)
        if layout.base == home and not layout.user.reaches(home):
            layout = Layout(home, _fallback(home), layout.user)
            (home / "data").symlink_to(layout.data)
            # Last, since a folder with a note and no link to it counts as an orphan.
            (layout.base / _HOME_NOTE).write_text(str(home), encoding="utf-8")
        for folder in (layout.data, layout.binaries):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)
    except OSError as error:
        raise _unusable(home, error) from error
    return layout


def _unusable(home: Path, error: OSError) -> Terminal:
    return Terminal(
        f"the folder {home} cannot be used ({error.strerror or error}); make it writable or choose another with --home"
    )


def remove_orphans() -> None:
    """Delete fallback folders of this user whose home is gone, as after `rm -rf .lab`."""
    for folder in _REACHABLE.glob(f"{_PREFIX}{os.geteuid()}-*"):
        note = folder / _HOME_NOTE
        try:
            if not _is_ours(folder) or not note.is_file():
                continue
            home = Path(note.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue  # whoever it belongs to removes it at this moment
        if not (home / "data").is_symlink():
            shutil.rmtree(folder, ignore_errors=True)


def _fallback(home: Path) -> Path:
    digest = hashlib.sha256(str(home).encode()).hexdigest()[:12]
    folder = _REACHABLE / f"{_PREFIX}{os.geteuid()}-{digest}"
    if folder.exists() and _is_ours(folder):
        shutil.rmtree(folder)  # the home that it belonged to was deleted, else its link would have been followed
    try:
        folder.mkdir(mode=0o711)
    except FileExistsError:
        raise Terminal(f"{folder} belongs to somebody else; delete it, or choose another folder with --home") from None
    folder.chmod(0o711)
    return folder


def _is_ours(folder: Path) -> bool:
    info = folder.lstat()
    return stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid()


def _link_or_copy(source: str, target: str) -> str:
    """Hard links cost nothing; a copy is needed across file systems, or when others may not read the original."""
    mode = Path(source).stat().st_mode
    readable = mode & stat.S_IROTH and (not mode & stat.S_IXUSR or mode & stat.S_IXOTH)
    if readable:
        try:
            os.link(source, target)
            return target
        except OSError:
            pass
    shutil.copy2(source, target)
    Path(target).chmod(0o755 if mode & stat.S_IXUSR else 0o644)
    return target
