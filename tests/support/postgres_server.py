"""A real PostgreSQL server for a test: its own folder, loopback only, gone afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ports import free_port

PASSWORD = "not-to-be-shown"


class NoServer(Exception):
    """There is no PostgreSQL on this machine."""


def binaries() -> Path:
    """The folder of `initdb` and `postgres`.

    :raises NoServer: there is none.
    """
    given = os.environ.get("ANTIPHON_POSTGRES")
    found = shutil.which("initdb")
    candidates = [Path(given)] if given else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    candidates += [Path(found).parent] if found else []
    for folder in candidates:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise NoServer("needs a PostgreSQL server: apt install postgresql, or name its folder in ANTIPHON_POSTGRES")


@dataclass
class PostgresServer:
    """A server that runs."""

    folder: Path
    port: int
    user: str | None

    @property
    def url(self) -> str:
        return f"postgresql://antiphon:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    @classmethod
    @contextmanager
    def start(cls) -> Iterator[PostgresServer]:
        """:raises NoServer: there is none on this machine."""
        programs = binaries()
        with (
            tempfile.TemporaryDirectory(prefix="antiphon-postgres-") as folder,
            cls._serving(Path(folder), programs) as it,
        ):
            yield it

    @classmethod
    @contextmanager
    def _serving(cls, folder: Path, programs: Path) -> Iterator[PostgresServer]:
        user = _who()
        if user is not None:  # the server refuses to run as root
            shutil.chown(folder, user)
        (folder / "password").write_text(PASSWORD)
        if user is not None:
            shutil.chown(folder / "password", user)
        data = str(folder / "data")
        port = free_port()
        server = cls(folder, port, user)
        server.run(
            programs / "initdb", "--no-sync", "-D", data, "-U", "antiphon", "-A", "scram-sha-256", "-E", "UTF8",
            "--locale=C", f"--pwfile={folder / 'password'}",
        )  # fmt: skip
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        control = (programs / "pg_ctl", "-w", "-t", "300", "-D", data)
        server.run(*control, "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield server
        finally:
            server.run(*control, "-m", "immediate", "stop", check=False)

    def run(self, program: Path, *arguments: str, check: bool = True) -> None:
        done = subprocess.run(
            [str(program), *arguments],
            user=self.user,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=300,
            check=False,
        )
        if check and done.returncode:
            raise RuntimeError(f"{program.name} failed: {done.stderr}")


def _who() -> str | None:
    """Whom the server runs as; None: as ourselves."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return None
    import pwd

    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
