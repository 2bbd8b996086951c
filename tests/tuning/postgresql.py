"""A PostgreSQL server of a test's own: loopback, a port of its own, gone with the test."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

PASSWORD = "pa:ss@wo/rd"  # of the user ann; every letter that a URL has to escape
QUOTED = "pa%3Ass%40wo%2Frd"
UNPRIVILEGED = ("postgres", "nobody")  # the server refuses to run as root


def program(name: str) -> str | None:
    """The path of a server's program, which Debian keeps out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(found[-1]) if found else None)


class Server:
    """A cluster of databases in ``folder`` with the superuser ann and the database hpcm."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._owner = _unprivileged() if os.geteuid() == 0 else None
        password = folder / "password"
        password.write_text(PASSWORD)
        if self._owner:
            for path in (folder, password):
                os.chown(path, self._owner.pw_uid, self._owner.pw_gid)
        flags = ["--username=ann", "--auth=scram-sha-256", f"--pwfile={password}", "--no-sync"]
        self._run("initdb", f"--pgdata={folder}/data", "--encoding=UTF8", *flags)
        password.unlink()

    def url(self, user: str = f"ann:{QUOTED}", database: str = "postgres") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -F"
        log = f"--log={self.folder}/log"
        self._run("pg_ctl", "start", "--wait", f"--pgdata={self.folder}/data", log, "-o", options)

    def stop(self) -> None:
        self._run("pg_ctl", "stop", f"--pgdata={self.folder}/data", "--mode=immediate")

    def _run(self, name: str, *words: str) -> None:
        path = program(name)
        assert path is not None
        who = {"user": self._owner.pw_uid, "group": self._owner.pw_gid} if self._owner else {}
        with (self.folder / "output").open("ab") as output:
            subprocess.run(
                [path, *words],
                check=True,
                cwd=self.folder,
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=60,
                **who,  # type: ignore[arg-type]
            )


def _unprivileged() -> pwd.struct_passwd:
    for name in UNPRIVILEGED:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    pytest.skip(f"PostgreSQL does not run as root, and there is none of {UNPRIVILEGED}")


def _open_folder() -> Path:
    """A folder for scratch that other users may go through; a test's own is closed to them."""
    for folder in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):
        if all(path.stat().st_mode & stat.S_IXOTH for path in (folder, *folder.parents)):
            return folder
    pytest.skip("PostgreSQL does not run as root, and no folder for scratch is open to its user")


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """A running server; skips where PostgreSQL is not installed."""
    missing = [name for name in ("initdb", "pg_ctl", "postgres") if program(name) is None]
    if missing:
        pytest.skip(f"needs a PostgreSQL server: no {', '.join(missing)} on this machine")
    folder = Path(tempfile.mkdtemp(prefix="hpcm-pg-", dir=_open_folder()))
    try:
        found = Server(folder)
        found.start()
        try:
            yield found
        finally:
            found.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
