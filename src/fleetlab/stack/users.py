"""Which account the servers run as: the caller's own, or an unprivileged one when the caller is root."""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FALLBACK_ID = 65534
"""What `nobody` is on every usual Linux; used when the account has no name, as in some containers."""


@dataclass(frozen=True)
class ServerUser:
    """The account of the servers. `uid` and `gid` are None when it is the caller's own.

    Postgres and Elasticsearch refuse to run as root, so root hands them to an unprivileged account, which must own the
    data folders and be able to reach the binaries.
    """

    name: str
    uid: int | None = None
    gid: int | None = None

    def popen_arguments(self) -> dict[str, Any]:
        """Arguments for `subprocess.Popen` that switch to this account, without any supplementary group."""
        return {} if self.uid is None else {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, folder: Path) -> None:
        """Give `folder` and what is in it to this account; nothing to do for the caller's own."""
        if self.uid is None or self.gid is None:
            return
        os.chown(folder, self.uid, self.gid)
        for parent, folders, files in os.walk(folder):
            for name in (*folders, *files):
                os.chown(Path(parent, name), self.uid, self.gid, follow_symlinks=False)

    def reaches(self, path: Path) -> bool:
        """Whether this account can enter (or execute) `path`. Asks the kernel, so access lists count too."""
        if self.uid is None:
            return os.access(path, os.X_OK)
        test = subprocess.run(
            ["/bin/sh", "-c", 'test -x "$0"', str(path)], cwd="/", check=False, env={}, **self.popen_arguments()
        )
        return test.returncode == 0


def server_user() -> ServerUser:
    """The account to run servers as: `nobody` for root, else the caller."""
    if os.geteuid() != 0:
        return ServerUser(name=str(os.geteuid()))
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return ServerUser("nobody", _FALLBACK_ID, _FALLBACK_ID)
    return ServerUser(entry.pw_name, entry.pw_uid, entry.pw_gid)
