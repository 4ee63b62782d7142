"""Class-data archives: a JVM that maps the classes of an earlier run starts with half the processor time.

The first Kafka of a machine writes one when it ends, and the cache keeps it, by version of server and of Java. A JVM
ignores an archive that another one wrote.
"""

import hashlib
import shutil
import tempfile
from pathlib import Path

from fleetlab.stack.context import Context
from fleetlab.stack.java import Jdk

_OLDEST = 19
"""From this Java on an archive may be used where the same jars lie in another folder, as they do in each home."""
_FILE = "classes.jsa"
_SUFFIX = ".jsa"
_UNFINISHED = bytes(4)  # the head is written last


def options(context: Context, jdk: Jdk, server: str, folder: Path) -> tuple[list[str], list[str]]:
    """Options of Java for every program of a server, and for the server itself, after all others.

    `server`: with its version; `folder`: its data, where a new archive waits for `keep`.
    """
    try:
        build = (jdk.home / "release").read_bytes()
    except OSError:
        return [], []
    if jdk.version < _OLDEST:
        return [], []
    name = f"{server}-java-{hashlib.sha256(build).hexdigest()[:12]}"
    kept = context.cache / name
    if (kept / _FILE).is_file():
        return [f"-XX:SharedArchiveFile={context.layout.reachable(kept) / _FILE}"], []
    # An archive of classes that nobody verified would be of no use to a JVM that verifies.
    verified = ["-XX:+UnlockDiagnosticVMOptions", "-XX:+BytecodeVerificationRemote"]
    return [], [f"-XX:ArchiveClassesAtExit={folder / (name + _SUFFIX)}", *verified]


def keep(folder: Path, cache: Path) -> None:
    """Take an archive that a server has left in its data over into the cache; called when it has ended.

    Never raises: without one, the next start only takes longer.
    """
    try:
        for path in folder.glob(f"*{_SUFFIX}"):
            target = cache / path.stem
            if target.exists() or not _is_whole(path):
                continue
            scratch = Path(tempfile.mkdtemp(prefix=".", dir=cache))
            try:
                shutil.copyfile(path, scratch / _FILE)
                (scratch / _FILE).chmod(0o644)
                scratch.chmod(0o755)
                scratch.rename(target)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
            path.unlink()
    except OSError:
        return


def _is_whole(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(_UNFINISHED)) not in (_UNFINISHED, b"")
