"""Which class-data archive a JVM is given, and which of those that servers leave are kept."""

from pathlib import Path

import pytest

from fleetlab.stack import class_archive, layout
from fleetlab.stack.context import Context, Secrets
from fleetlab.stack.java import Jdk
from fleetlab.stack.processes import Processes
from fleetlab.stack.progress import Silent
from fleetlab.stack.users import ServerUser

WHOLE = b"\xa8\xba\x0b\xf0 and more"


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.setattr(layout, "server_user", lambda: ServerUser("the caller"))
    folders = layout.prepare(tmp_path / "lab")
    (tmp_path / "cache").mkdir()
    secrets = Secrets(folders.run, ())
    return Context(folders, Processes(folders), tmp_path / "cache", Silent(), secrets, {}, tmp_path)


def java(home: Path, version: int = 21, build: str = "21.0.1+12") -> Jdk:
    home.mkdir(exist_ok=True)
    (home / "release").write_text(f'JAVA_RUNTIME_VERSION="{build}"\n')
    return Jdk(home, version)


def test_the_first_server_writes_an_archive_and_the_next_one_uses_it(context: Context, tmp_path: Path) -> None:
    folder = context.layout.server_folder("kafka")
    used, written = class_archive.options(context, java(tmp_path / "jdk"), "kafka-4", folder)
    assert used == []
    path = Path(written[0].removeprefix("-XX:ArchiveClassesAtExit="))
    assert path.parent == folder and "-XX:+BytecodeVerificationRemote" in written
    path.write_bytes(WHOLE)
    class_archive.keep(folder, context.cache)
    assert not path.exists()
    used, written = class_archive.options(context, java(tmp_path / "jdk"), "kafka-4", folder)
    assert written == []
    assert Path(used[0].removeprefix("-XX:SharedArchiveFile=")).read_bytes() == WHOLE


def test_another_build_of_java_or_another_server_has_an_archive_of_its_own(context: Context, tmp_path: Path) -> None:
    folder = context.layout.server_folder("kafka")
    asked = [("21.0.1+12", "kafka-4"), ("21.0.2+7", "kafka-4"), ("21.0.2+7", "kafka-5")]
    names = {
        class_archive.options(context, java(tmp_path / "jdk", build=build), server, folder)[1][0]
        for build, server in asked
    }
    assert len(names) == 3


@pytest.mark.parametrize("content", [b"", bytes(8)], ids=["empty", "without its head"])
def test_what_a_killed_server_has_half_written_is_not_kept(context: Context, content: bytes) -> None:
    folder = context.layout.server_folder("kafka")
    (folder / "kafka-4-java-x.jsa").write_bytes(content)
    class_archive.keep(folder, context.cache)
    assert list(context.cache.iterdir()) == []


def test_an_old_java_or_one_that_does_not_tell_its_build_does_without(context: Context, tmp_path: Path) -> None:
    folder = context.layout.server_folder("kafka")
    assert class_archive.options(context, java(tmp_path / "jdk", version=17), "kafka-4", folder) == ([], [])
    assert class_archive.options(context, Jdk(tmp_path / "none", 21), "kafka-4", folder) == ([], [])


def test_a_cache_that_cannot_be_written_stops_nobody(context: Context, tmp_path: Path) -> None:
    folder = context.layout.server_folder("kafka")
    (folder / "kafka-4-java-x.jsa").write_bytes(WHOLE)
    class_archive.keep(folder, tmp_path / "is not there")
    assert (folder / "kafka-4-java-x.jsa").exists()
