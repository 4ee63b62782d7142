"""Which JDK is found and which server it gives, with stand-in `java` programs."""

from pathlib import Path

import pytest

from fleetgauge.errors import Terminal
from fleetlab.stack.artifacts import bundles
from fleetlab.stack.java import Jdk, find_jdk, look_at
from fleetlab.stack.users import ServerUser

CALLER = ServerUser("the caller")
JDK_MODULES = "java.base@{0} java.logging@{0} jdk.jlink@{0}"
JRE_MODULES = "java.base@{0} java.logging@{0}"


def stand_in(home: Path, version: str, modules: str | None = JDK_MODULES) -> Path:
    """A `java` that prints what a real one of this version would."""
    program = home / "bin" / "java"
    program.parent.mkdir(parents=True)
    listing = "exit 1" if modules is None else f"printf '%s\\n' {modules.format(version)}"
    program.write_text(
        "#!/bin/sh\n"
        f'case "$1" in --list-modules) {listing};;\n'
        f"*) echo 'openjdk version \"{version}\" 2026-01-20' >&2; echo 'OpenJDK Runtime Environment' >&2;; esac\n"
    )
    program.chmod(0o755)
    return home


def found(*homes: Path, environment: dict[str, str] | None = None) -> Jdk:
    return find_jdk(environment or {}, [str(home) for home in homes], CALLER)


@pytest.mark.parametrize(
    ("version", "feature", "server"),
    [
        ("17.0.15", 17, "8.19.21"),
        ("20.0.2", 20, "8.19.21"),
        ("21.0.1", 21, "9.5.3"),
        ("25", 25, "9.5.3"),
        ("26-ea", 26, "9.5.3"),
    ],
)
def test_version_decides_on_the_server(tmp_path: Path, version: str, feature: int, server: str) -> None:
    jdk = found(stand_in(tmp_path / "jdk", version))
    assert (jdk.version, bundles()[jdk.elasticsearch].version) == (feature, server)
    assert jdk.java == tmp_path / "jdk" / "bin" / "java"


def test_best_wins_wherever_it_is_found(tmp_path: Path) -> None:
    in_java_home, on_path = stand_in(tmp_path / "a", "17.0.1"), stand_in(tmp_path / "b", "11.0.2")
    in_folder = stand_in(tmp_path / "c", "21.0.4")
    environment = {"JAVA_HOME": str(in_java_home), "PATH": str(on_path / "bin")}
    assert found(in_folder, environment=environment).home == in_folder
    assert found(environment=environment).home == in_java_home


def test_path_alone_is_enough_and_links_are_followed(tmp_path: Path) -> None:
    jdk = stand_in(tmp_path / "jdk", "21.0.4")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").symlink_to(jdk / "bin" / "java")
    assert found(environment={"PATH": str(tmp_path / "bin")}).home == jdk


def test_folders_are_patterns(tmp_path: Path) -> None:
    stand_in(tmp_path / "jvm" / "java-17", "17.0.9")
    stand_in(tmp_path / "jvm" / "java-21", "21.0.9")
    assert found(tmp_path / "jvm" / "*").version == 21


def test_a_version_that_was_tried_beats_a_newer_one(tmp_path: Path) -> None:
    assert found(stand_in(tmp_path / "a", "25.0.1"), stand_in(tmp_path / "b", "27")).version == 25
    assert found(stand_in(tmp_path / "c", "17.0.1"), stand_in(tmp_path / "d", "27")).version == 17


@pytest.mark.parametrize(
    ("version", "modules", "why"),
    [
        ("1.8.0_402", None, "version 8 is too old"),
        ("11.0.22", JDK_MODULES, "version 11 is too old"),
        ("21.0.1", JRE_MODULES, "version 21 is a JRE, not a JDK"),
    ],
)
def test_none_usable_is_one_sentence_with_the_fix(tmp_path: Path, version: str, modules: str | None, why: str) -> None:
    with pytest.raises(Terminal) as raised:
        found(stand_in(tmp_path / "java", version, modules))
    message = str(raised.value)
    assert why in message
    assert "install one, 21 or newer" in message
    assert "\n" not in message


def test_no_java_at_all(tmp_path: Path) -> None:
    with pytest.raises(Terminal, match="no java at all"):
        found(tmp_path / "nothing")


def test_a_java_that_fails_is_passed_over(tmp_path: Path) -> None:
    broken = stand_in(tmp_path / "broken", "21")
    (broken / "bin" / "java").write_text("#!/bin/sh\necho 'Error: could not find libjava.so' >&2\nexit 1\n")
    good = stand_in(tmp_path / "good", "17.0.2")
    assert found(broken, good).home == good


def test_named_jdk_is_taken_or_refused(tmp_path: Path) -> None:
    assert look_at(stand_in(tmp_path / "jdk", "17.0.2"), CALLER).version == 17
    with pytest.raises(Terminal, match="version 11 is too old"):
        look_at(stand_in(tmp_path / "old", "11.0.2"), CALLER)
