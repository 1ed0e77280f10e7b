"""Databases for tests: files, and a PostgreSQL server that is started for them."""

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from tests.ports import free_port


def postgres_programs():
    """Return the folder of initdb and pg_ctl; None where PostgreSQL is not installed."""
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders else None


@contextmanager
def postgres_server(programs):
    """Start a server on a folder of its own and give its URL, without a database's name."""
    folder = Path(tempfile.mkdtemp(prefix="cpcds-pg-"))
    become = []
    if os.geteuid() == 0:  # initdb refuses root
        shutil.chown(folder, "nobody")
        become = ["runuser", "-u", "nobody", "--"]
    port = free_port()
    data = folder / "data"
    options = (
        f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off "
        "-c max_connections=60 -c shared_buffers=32MB"
    )

    def run(name, *arguments):
        subprocess.run(
            [*become, str(programs / name), *arguments],
            check=True,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=120,
        )

    run("initdb", "-D", str(data), "-U", "cpcds", "-A", "trust", "-E", "UTF8", "--no-sync")
    try:
        run("pg_ctl", "-D", str(data), "-o", options, "-l", str(folder / "log"), "-w", "start")
        yield f"postgresql://cpcds@127.0.0.1:{port}"
    finally:
        run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)
