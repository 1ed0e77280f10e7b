"""The session of Apache Spark that a run uses: a platform's, or one of its own."""

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
_OWN: Final = {
    # Rows of members are in what Spark writes to disks.
    "spark.io.encryption.enabled": "true",
    "spark.ui.showConsoleProgress": "false",
}
"""Settings of a session that begins here; one that a platform began has the platform's."""
_SECRET: Final = "spark.authenticate.secret"  # noqa: S105 # a setting's name
_JAVA: Final = 17
_PORTS: Final = {"spark": 7077, "sc": 15002}
"""Scheme of a master -> its port, where none is named."""
_SECONDS: Final = 10
"""How long an address may take to answer."""
_BATCH: Final = "spark.sql.execution.arrow.maxRecordsPerBatch"
_BATCH_ROWS: Final = "2000"
"""Rows that Python is given at a time: most are rows of an extract, some are ids of many."""


def require_spark(master: str | None) -> None:
    """Check that a session can begin on this machine.

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
    """Give a `pyspark.sql.SparkSession`; one that was begun here is ended.

    Args:
        master: where Spark runs, as for `spark-submit`, or a Spark Connect server (`sc://`); None
            for the session that there is, or the one that the environment describes.

    Raises:
        UsageError: Spark did not begin, or its master cannot be reached.
    """
    check_master(master)
    with warnings.catch_warnings():
        # Spark speaks of pandas, which no unit needs, and leaves its sockets to be collected.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", ResourceWarning)
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession

        platforms = SparkSession.getActiveSession()
        try:
            session = platforms or _builder(SparkSession.builder, master).getOrCreate()
        except (PySparkException, Py4JError) as error:
            raise UsageError(_why_not_begun(master, error)) from None
        rows_before = session.conf.get(_BATCH) or ""
        session.conf.set(_BATCH, _BATCH_ROWS)
        try:
            yield session
        finally:
            if platforms is None:
                session.stop()
            else:
                session.conf.set(_BATCH, rows_before)


def _why_not_begun(master: str | None, error: Exception) -> str:
    """Return a sentence on why Spark did not begin, and what to do."""
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
    """Return the version of the Java that Spark would run; None where it does not say."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home, "bin", "java")) if home else "java"
    try:
        said = subprocess.run(  # noqa: S603 # the Java that Spark would run
            [java, "-version"], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', said.stderr)
    return None if found is None else int(found[1])


def check_master(master: str | None) -> None:
    """Check that a master, or a Spark Connect server, can be reached from here.

    Spark itself tries for minutes, and then ends the process.

    Raises:
        UsageError: nothing answers at any of its addresses.
    """
    scheme, _, rest = (master or "").partition("://")
    default = _PORTS.get(scheme)
    if default is None:
        return
    addresses = re.split(r"[;/]", rest)[0].split(",")
    for address in addresses:
        host, _, port = address.rpartition(":") if ":" in address else (address, "", str(default))
        try:
            socket.create_connection((host, int(port)), timeout=_SECONDS).close()
        except (OSError, ValueError):
            continue
        return
    raise UsageError(f"{master}: nothing answers there; is Spark running, and is the port right?")


def _is_remote(master: str | None) -> bool:
    return "SPARK_REMOTE" in os.environ if master is None else master.startswith(_CONNECT)


def _is_here(master: str | None) -> bool:
    """Whether executors run on this machine: there Python's command need not be in PATH."""
    if master is None:  # neither in a platform's job nor beside an installation with a master
        return not {"PYSPARK_GATEWAY_PORT", "SPARK_HOME", "SPARK_CONF_DIR"} & os.environ.keys()
    return master.startswith("local")


def _builder(builder: Any, master: str | None) -> Any:
    builder = builder.appName("cpcds run")
    if _is_remote(master):
        return builder if master is None else builder.remote(master)
    for name, value in _OWN.items():
        builder = builder.config(name, value)
    if _is_here(master):
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    return builder if master is None else builder.master(master)
