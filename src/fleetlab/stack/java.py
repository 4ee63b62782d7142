"""Finding a JDK, and which Elasticsearch it can run."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fleetgauge.errors import Terminal
from fleetlab.stack.users import ServerUser, server_user

OLDEST = 17
"""The oldest Java on which Kafka 4 and Elasticsearch 8.19 run."""
_FOR_ELASTICSEARCH_9 = 21
_NEWEST_TRIED = 25
_TIMEOUT_S = 20
_SYSTEM_FOLDERS = (
    "/usr/lib/jvm/*",
    "/usr/lib64/jvm/*",
    "/usr/java/*",
    "/opt/java/*",
    "/opt/jdk*",
    "/Library/Java/JavaVirtualMachines/*/Contents/Home",
    "/opt/homebrew/opt/openjdk*/libexec/openjdk.jdk/Contents/Home",
    "/usr/local/opt/openjdk*/libexec/openjdk.jdk/Contents/Home",
)
_HOME_FOLDERS = (
    ".sdkman/candidates/java/*",
    ".jdks/*",
    ".local/share/mise/installs/java/*",
    ".asdf/installs/java/*",
    "Library/Java/JavaVirtualMachines/*/Contents/Home",
)


@dataclass(frozen=True)
class Jdk:
    """A Java development kit that the servers' account can run."""

    home: Path
    version: int
    """The feature release, such as 21."""

    @property
    def java(self) -> Path:
        """The program."""
        return self.home / "bin" / "java"

    @property
    def elasticsearch(self) -> str:
        """The bundle of the newest Elasticsearch that this Java runs."""
        return "elasticsearch-9" if self.version >= _FOR_ELASTICSEARCH_9 else "elasticsearch-8"


def find_jdk(
    environment: Mapping[str, str] | None = None,
    folders: Iterable[str] | None = None,
    user: ServerUser | None = None,
) -> Jdk:
    """The best JDK in `JAVA_HOME`, on `PATH` and in the usual folders: the newest that was tried, else the newest.

    Runs each candidate's `java` twice. Raises `Terminal` saying what to install if there is none.
    """
    environment = os.environ if environment is None else environment
    account = user or server_user()
    candidates = _candidates(environment, default_folders() if folders is None else folders)
    with ThreadPoolExecutor(4) as pool:
        looked_at = list(pool.map(lambda home: _look(home, account), candidates))
    good = [found for found in looked_at if isinstance(found, Jdk)]
    if not good:
        seen = "; ".join(f"{home}: {why}" for home, why in zip(candidates, looked_at, strict=True))
        raise Terminal(
            f"no JDK of version {OLDEST} or newer was found ({seen or 'no java at all'}); "
            "install one, 21 or newer if you can, such as the package openjdk-21-jdk-headless or temurin-21-jdk, "
            "or point JAVA_HOME at it"
        )
    return max(good, key=lambda jdk: (jdk.version <= _NEWEST_TRIED, jdk.version))


def look_at(home: Path, user: ServerUser | None = None) -> Jdk:
    """The JDK in `home`. Raises `Terminal` if it will not do."""
    found = _look(home.resolve(), user or server_user())
    if not isinstance(found, Jdk):
        raise Terminal(f"the JDK named, {home}, cannot be used: {found}; name another or leave it out")
    return found


def more_options() -> list[str]:
    """`$FLEETLAB_JAVA_OPTS`: what the JVMs of Kafka and Elasticsearch get after their own options."""
    return shlex.split(os.environ.get("FLEETLAB_JAVA_OPTS", ""))


def default_folders() -> list[str]:
    """Patterns of the folders where installers put JDKs on Linux and macOS."""
    return [*_SYSTEM_FOLDERS, *(str(Path.home() / folder) for folder in _HOME_FOLDERS)]


def _candidates(environment: Mapping[str, str], folders: Iterable[str]) -> list[Path]:
    homes: list[Path] = []
    if environment.get("JAVA_HOME"):
        homes.append(Path(environment["JAVA_HOME"]))
    on_path = shutil.which("java", path=environment.get("PATH", ""))
    if on_path:
        homes.append(Path(on_path).resolve().parent.parent)
    for pattern in folders:
        homes.extend(sorted(Path("/").glob(pattern.lstrip("/"))))
    unique = dict.fromkeys(home.resolve() for home in homes)
    return [home for home in unique if (home / "bin" / "java").exists()]


def _look(home: Path, user: ServerUser) -> Jdk | str:
    """The JDK in `home`, or why it will not do."""
    first = _ask(home, "-version", user)
    if first is None:
        return f"the account {user.name} cannot run it" if user.uid is not None else "it does not run"
    match = re.search(r'version "(?:1\.)?(\d+)', first)
    if match is None:
        return "it does not tell its version"
    version = int(match[1])
    if version < OLDEST:
        return f"version {version} is too old"
    modules = _ask(home, "--list-modules", user) or ""
    # Elasticsearch reads its own class files with tools that only a full JDK has.
    if "java.base@" in modules and "jdk.jlink@" not in modules:
        return f"version {version} is a JRE, not a JDK"
    return Jdk(home, version)


def _ask(home: Path, option: str, user: ServerUser) -> str | None:
    try:
        result = subprocess.run(
            [str(home / "bin" / "java"), option],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
            cwd="/",
            env={"PATH": "/usr/bin:/bin"},
            **user.popen_arguments(),
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout + result.stderr if result.returncode == 0 else None
