"""The Java servers: fetched once from Maven Central into a cache, checked against checksums kept in the source.

`artifacts.lock.json` lists every file of the dependency tree that Maven resolves, with its SHA-256: nothing is resolved
at run time, and an altered file is noticed. Afterwards everything works offline.
"""

import fcntl
import hashlib
import json
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from fleetgauge.errors import Terminal, Transient
from fleetlab.stack.progress import StackProgress

_MARK = ".complete"
_PARALLEL_DOWNLOADS = 6
_TIMEOUT_S = 30
_LOCK_POLL_S = 0.2


@dataclass(frozen=True)
class Artifact:
    """One file of a Maven repository. `size` in bytes, `sha256` in hex."""

    group: str
    artifact: str
    version: str
    packaging: str
    size: int
    sha256: str

    @property
    def filename(self) -> str:
        """As Maven names it."""
        return f"{self.artifact}-{self.version}.{self.packaging}"


@dataclass(frozen=True)
class Bundle:
    """The files that make one server; a single zip is unpacked."""

    name: str
    version: str
    files: tuple[Artifact, ...]

    @property
    def folder(self) -> str:
        """Its folder in the cache."""
        return f"{self.name.split('-')[0]}-{self.version}"

    @property
    def size(self) -> int:
        """Bytes to fetch."""
        return sum(f.size for f in self.files)

    @property
    def digest(self) -> str:
        """A checksum over all files, recorded in the cache when they have been verified."""
        return hashlib.sha256("".join(f.sha256 for f in self.files).encode()).hexdigest()


Downloader = Callable[[Artifact, Path, Callable[[int], None]], Path]
"""Fetches one artifact into a folder, calling back with the bytes of each chunk; returns the file."""


@cache
def bundles() -> dict[str, Bundle]:
    """The known servers by name: `kafka`, `elasticsearch-8`, `elasticsearch-9`."""
    text = resources.files(__package__).joinpath("artifacts.lock.json").read_text(encoding="utf-8")
    return {
        name: Bundle(name, entry["version"], tuple(Artifact(**f) for f in entry["files"]))
        for name, entry in json.loads(text).items()
    }


def is_cached(bundle: Bundle, cache_folder: Path) -> bool:
    """Whether the bundle is in the cache, verified."""
    try:
        return (cache_folder / bundle.folder / _MARK).read_text(encoding="ascii").strip() == bundle.digest
    except OSError:
        return False


def ensure(
    bundle: Bundle,
    cache_folder: Path,
    progress: StackProgress,
    *,
    check: Callable[[], None] = lambda: None,
    download: Downloader | None = None,
) -> Path:
    """The bundle's folder in the cache, fetched first if it is not there. Blocks for the download.

    Safe when several processes ask at once: one fetches, the others wait. `check` is called often and may raise to give
    up. Raises `Transient` if the network fails, `Terminal` if a file has not the checksum it must have or the cache
    cannot be written.
    """
    target = cache_folder / bundle.folder
    if is_cached(bundle, cache_folder):
        return target
    try:
        cache_folder.mkdir(parents=True, exist_ok=True)
        with _exclusive(cache_folder / f"{bundle.folder}.lock", check):
            if not is_cached(bundle, cache_folder):
                with tempfile.TemporaryDirectory(prefix=f".{bundle.folder}-", dir=cache_folder) as scratch:
                    made = _fetch(bundle, Path(scratch), progress, check, download or _download)
                    shutil.rmtree(target, ignore_errors=True)
                    made.rename(target)
    except OSError as error:
        raise Terminal(
            f"the cache {cache_folder} cannot be used ({error.strerror or error}); "
            "free some space, make it writable, or name another in FLEETLAB_CACHE"
        ) from error
    return target


def _fetch(
    bundle: Bundle, scratch: Path, progress: StackProgress, check: Callable[[], None], download: Downloader
) -> Path:
    downloads, made = scratch / "downloads", scratch / "made"
    downloads.mkdir()
    made.mkdir()
    with (
        progress.download(bundle.folder, bundle.size) as advance,
        ThreadPoolExecutor(_PARALLEL_DOWNLOADS) as pool,
    ):

        def count(size: int) -> None:
            check()
            advance(size)

        paths = list(pool.map(lambda artifact: _verified(artifact, downloads, count, download), bundle.files))
    if bundle.files[0].packaging == "zip":
        with zipfile.ZipFile(paths[0]) as archive:
            archive.extractall(made)
        inner = [p for p in made.iterdir() if p.is_dir()]
        made = inner[0] if len(inner) == 1 else made
    else:
        for path in paths:
            path.rename(made / path.name)
    for path in (made, *made.rglob("*")):
        # A zip loses modes, and a strict umask would shut out the servers' account.
        path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
    (made / _MARK).write_text(bundle.digest + "\n", encoding="ascii")
    return made


def _verified(artifact: Artifact, folder: Path, advance: Callable[[int], None], download: Downloader) -> Path:
    path = download(artifact, folder, advance)
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != artifact.sha256:
        raise Terminal(
            f"{artifact.filename} has SHA-256 {found} where {artifact.sha256} is required; "
            "the download was altered or broken: try again, and if it stays so, look at the proxy in between"
        )
    return path


def _download(artifact: Artifact, folder: Path, advance: Callable[[int], None]) -> Path:
    """Fetch by jgo, with a few tries."""
    try:
        import requests
        from jgo.maven import MavenContext, PythonResolver
    except ImportError as error:
        raise Terminal("the package jgo is missing; run pip install 'fleetgauge[lab]'") from error

    @contextmanager
    def report(filename: str, total: int) -> Iterator[Callable[[int], None]]:
        del filename, total
        yield advance

    def fetch() -> Path:
        # A folder of its own for each try: jgo keeps a partial file and would take it for the whole.
        cache_folder = Path(tempfile.mkdtemp(dir=folder))
        context = MavenContext(
            resolver=PythonResolver(progress_callback=report),
            repo_cache=cache_folder,
            local_repos=[],
            timeout=_TIMEOUT_S,
        )
        project = context.project(artifact.group, artifact.artifact)
        return Path(project.at_version(artifact.version).artifact(packaging=artifact.packaging).resolve())

    try:
        for attempt in Retrying(
            stop=stop_after_attempt(3),
            wait=wait_exponential_jitter(1, 5),
            retry=retry_if_exception_type((requests.RequestException, RuntimeError)),
            reraise=True,
        ):
            with attempt:
                return fetch()
    except (requests.RequestException, RuntimeError) as error:
        raise Transient(
            f"{artifact.filename} could not be fetched ({type(error).__name__}); "
            "check the network or proxy and try again"
        ) from error
    raise AssertionError("Retrying neither returned nor raised")


@contextmanager
def _exclusive(path: Path, check: Callable[[], None]) -> Iterator[None]:
    with path.open("a", encoding="ascii") as lock:
        while True:
            check()
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_LOCK_POLL_S)
        yield
