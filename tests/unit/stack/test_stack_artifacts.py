"""Fetching into the cache: verified, atomic, once, and never again."""

import hashlib
import io
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from fleetgauge.errors import Terminal
from fleetlab.stack.artifacts import Artifact, Bundle, bundles, ensure, is_cached
from fleetlab.stack.progress import ConsoleProgress, Silent


def artifact(name: str, body: bytes, packaging: str = "jar") -> Artifact:
    return Artifact("org.example", name, "1.0", packaging, len(body), hashlib.sha256(body).hexdigest())


BODIES = {"one-1.0.jar": b"first", "two-1.0.jar": b"second"}
JARS = Bundle("kafka", "1.0", (artifact("one", b"first"), artifact("two", b"second")))


class Repository:
    """A downloader that serves from memory and counts."""

    def __init__(self, bodies: dict[str, bytes]) -> None:
        self.bodies, self.fetched = bodies, list[str]()

    def __call__(self, wanted: Artifact, folder: Path, advance: Callable[[int], None]) -> Path:
        self.fetched.append(wanted.filename)
        body = self.bodies[wanted.filename]
        path = folder / wanted.filename
        path.write_bytes(body)
        advance(len(body))
        return path


def offline(wanted: Artifact, folder: Path, advance: Callable[[int], None]) -> Path:
    raise AssertionError(f"{wanted.filename} was fetched again")


def test_fetches_once_and_works_offline_afterwards(tmp_path: Path) -> None:
    repository = Repository(BODIES)
    folder = ensure(JARS, tmp_path, Silent(), download=repository)
    assert sorted(p.name for p in folder.glob("*.jar")) == ["one-1.0.jar", "two-1.0.jar"]
    assert sorted(repository.fetched) == sorted(BODIES)
    assert is_cached(JARS, tmp_path)
    assert ensure(JARS, tmp_path, Silent(), download=offline) == folder


def test_an_altered_file_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Terminal, match=r"two-1.0.jar has SHA-256 .* is required"):
        ensure(JARS, tmp_path, Silent(), download=Repository({**BODIES, "two-1.0.jar": b"altered"}))
    assert not is_cached(JARS, tmp_path)
    assert not list(tmp_path.rglob("*.jar"))
    assert is_cached(JARS, ensure(JARS, tmp_path, Silent(), download=Repository(BODIES)).parent)


def test_an_interrupted_download_leaves_nothing(tmp_path: Path) -> None:
    class GivenUpError(Exception):
        pass

    def check() -> None:
        if repository.fetched:
            raise GivenUpError

    repository = Repository(BODIES)
    with pytest.raises(GivenUpError):
        ensure(JARS, tmp_path, Silent(), check=check, download=repository)
    assert not is_cached(JARS, tmp_path)
    assert not list(tmp_path.rglob("*.jar"))


def test_what_is_there_without_the_mark_is_fetched_anew(tmp_path: Path) -> None:
    (tmp_path / JARS.folder).mkdir()
    (tmp_path / JARS.folder / "half.jar").touch()
    folder = ensure(JARS, tmp_path, Silent(), download=Repository(BODIES))
    assert not (folder / "half.jar").exists()


def test_a_changed_lock_fetches_anew(tmp_path: Path) -> None:
    ensure(JARS, tmp_path, Silent(), download=Repository(BODIES))
    changed = Bundle("kafka", "1.0", (artifact("one", b"newer"),))
    folder = ensure(changed, tmp_path, Silent(), download=Repository({"one-1.0.jar": b"newer"}))
    assert [p.name for p in folder.glob("*.jar")] == ["one-1.0.jar"]


def test_two_at_once_fetch_once(tmp_path: Path) -> None:
    repository, together = Repository(BODIES), Barrier(2)

    def one(_: int) -> Path:
        together.wait(10)
        return ensure(JARS, tmp_path, Silent(), download=repository)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(one, range(2))
    assert first == second
    assert sorted(repository.fetched) == sorted(BODIES)


def test_a_zip_is_unpacked_with_programs_that_run(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("server-1.0/bin/server", "#!/bin/sh\n")
        archive.writestr("server-1.0/lib/a.jar", "x")
    bundle = Bundle("elasticsearch-9", "1.0", (artifact("server", packed.getvalue(), "zip"),))
    folder = ensure(bundle, tmp_path, Silent(), download=Repository({"server-1.0.zip": packed.getvalue()}))
    assert (folder / "bin" / "server").stat().st_mode & 0o777 == 0o755
    assert (folder / "lib" / "a.jar").stat().st_mode & 0o777 == 0o644


def test_a_cache_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Terminal, match="FLEETLAB_CACHE"):
        ensure(JARS, tmp_path / "file" / "cache", Silent(), download=Repository(BODIES))


def test_in_ci_progress_is_plain_lines() -> None:
    stream = io.StringIO()
    with ConsoleProgress(stream).download("kafka", 45_000_000) as advance:
        advance(10)
    assert stream.getvalue() == "kafka: fetching 45 MB\nkafka: fetched\n"


def test_the_lock_pins_one_version_of_each_library() -> None:
    known = bundles()
    assert {name: bundle.version for name, bundle in known.items()} == {
        "kafka": "4.3.1",
        "elasticsearch-9": "9.5.3",
        "elasticsearch-8": "8.19.21",
    }
    jars = known["kafka"].files
    assert len({(jar.group, jar.artifact) for jar in jars}) == len(jars)
    assert {jar.version for jar in jars if jar.group == "org.apache.kafka"} == {"4.3.1"}
    assert all(len(f.sha256) == 64 and f.size > 0 for bundle in known.values() for f in bundle.files)
