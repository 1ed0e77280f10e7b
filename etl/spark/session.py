"""The session of Apache Spark for a run: an existing one of the platform, or a new one."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from etl.errors import UsageError, not_installed

_CONNECT: Final = "sc://"
_SETTINGS: Final = {
    # Spark writes rows of members to disk.
    "spark.io.encryption.enabled": "true",
    "spark.ui.showConsoleProgress": "false",
}
"""Settings of a new session; a platform's session has its own."""
_SECRET: Final = "spark.authenticate.secret"  # noqa: S105 # a setting's name
_JAVA: Final = 17
_DEFAULT_PORTS: Final = {"spark": 7077, "sc": 15002}
"""Scheme of a master -> its default port."""
_CONNECT_SECONDS: Final = 10
"""Time limit for a connection to a master."""
_BATCH_SETTING: Final = "spark.sql.execution.arrow.maxRecordsPerBatch"
_BATCH_ROWS: Final = "2000"
"""Rows per batch: most are rows of an extract, but some contain the ids of many rows."""


def require_spark(master: str | None) -> None:
    """Check that this machine can start a session.

    Args:
        master: as for `spark_session`.

    Raises:
        UsageError: pyspark or Java is not installed.
    """
    if find_spec("pyspark") is None:
        raise UsageError(f"Spark needs the package pyspark, {not_installed('spark')}")
    if _is_remote(master):
        return
    home = os.environ.get("JAVA_HOME")
    if shutil.which("java") is None and not (home and Path(home, "bin", "java").is_file()):
        raise UsageError(
            "Spark needs Java, which is not installed: install version 17, or set JAVA_HOME"
        )


@contextmanager
def spark_session(master: str | None) -> Iterator[Any]:
    """Yield a `pyspark.sql.SparkSession`; a new one is stopped afterwards.

    Args:
        master: where Spark runs, as for `spark-submit`, or a Spark Connect server (`sc://`); None
            for the active session, or for one that the environment describes.

    Raises:
        UsageError: Spark did not start, or its master cannot be reached.
    """
    check_master(master)
    with warnings.catch_warnings():
        # Spark warns about pandas, which is not used, and leaves sockets to the garbage collector.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", ResourceWarning)
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession

        active_session = SparkSession.getActiveSession()
        try:
            session = active_session or _configure(SparkSession.builder, master).getOrCreate()
        except (PySparkException, Py4JError) as error:
            raise UsageError(_explain_failed_start(master, error)) from None
        previous_rows = session.conf.get(_BATCH_SETTING) or ""
        session.conf.set(_BATCH_SETTING, _BATCH_ROWS)
        try:
            yield session
        finally:
            if active_session is None:
                session.stop()
            else:
                session.conf.set(_BATCH_SETTING, previous_rows)


def _explain_failed_start(master: str | None, error: Exception) -> str:
    """Return a sentence that says why Spark did not start, and what to do."""
    if _SECRET in str(error):
        return (
            f"spark.authenticate is set, and {_SECRET} is not: give master, workers and this "
            "driver the same secret, for example in spark-defaults.conf"
        )
    java = _java_version()
    if java is not None and java < _JAVA and not _is_remote(master):
        return (
            f"Spark needs Java {_JAVA}, and Java {java} is installed: set JAVA_HOME to a newer one"
        )
    where = "as the environment says" if master is None else f"with --master {master}"
    return f"Spark did not begin {where} ({type(error).__name__}); what it wrote has the reason"


def _java_version() -> int | None:
    """Return the version of the Java that Spark would run; None if it is unknown."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home, "bin", "java")) if home else "java"
    try:
        process = subprocess.run(  # noqa: S603 # the Java that Spark would run
            [java, "-version"], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', process.stderr)
    return None if match is None else int(match[1])


def check_master(master: str | None) -> None:
    """Check that a master, or a Spark Connect server, can be reached.

    Spark itself would try for minutes, and then end the process.

    Raises:
        UsageError: none of its addresses accepts a connection.
    """
    scheme, _, location = (master or "").partition("://")
    default_port = _DEFAULT_PORTS.get(scheme)
    if default_port is None:
        return
    addresses = re.split(r"[;/]", location)[0].split(",")
    for address in addresses:
        host, _, port = address.rpartition(":") if ":" in address else (address, "", default_port)
        try:
            socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
        except (OSError, ValueError):
            continue
        return
    raise UsageError(f"{master}: nothing answers there; is Spark running, and is the port right?")


def _is_remote(master: str | None) -> bool:
    return "SPARK_REMOTE" in os.environ if master is None else master.startswith(_CONNECT)


def _runs_on_this_machine(master: str | None) -> bool:
    """Return whether executors run on this machine, where Python need not be in PATH."""
    if master is None:  # neither a platform's job nor an installation that names a master
        return not {"PYSPARK_GATEWAY_PORT", "SPARK_HOME", "SPARK_CONF_DIR"} & os.environ.keys()
    return master.startswith("local")


def _configure(builder: Any, master: str | None) -> Any:
    builder = builder.appName("cpcds run")
    if _is_remote(master):
        return builder if master is None else builder.remote(master)
    for name, value in _SETTINGS.items():
        builder = builder.config(name, value)
    if _runs_on_this_machine(master):
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    return builder if master is None else builder.master(master)
