"""Programs of Spark for tests: a standalone master with workers, and what they began."""

import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from etl.spark.session import spark_session
from tests.contract.executor.spark import spark_or_skip
from tests.waiting import until


@contextmanager
def program(log, name, *arguments):
    """Run a program of Spark's, and give the file with what it says."""
    import pyspark

    home = Path(pyspark.__file__).parent
    environment = os.environ | {"SPARK_HOME": str(home), "SPARK_LOCAL_IP": "127.0.0.1"}
    with log.open("wb") as file:
        command = [str(home / "bin" / name), *arguments]
        process = subprocess.Popen(
            command, stdout=file, stderr=file, env=environment, start_new_session=True
        )
    try:
        yield log
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def said(log, pattern):
    """Return what a program said that matches a pattern, once it has."""
    found = list[str]()

    def is_there():
        found[:] = re.findall(pattern, log.read_text(errors="replace"))
        return bool(found)

    until(is_there, 120)
    return found[0]


@contextmanager
def standalone_cluster(folder, hosts=("127.0.0.1", "127.0.0.1")):
    """Give the address of a standalone master with one worker of one core on each of some hosts."""
    spark_or_skip()
    deploy = "org.apache.spark.deploy"
    port = ("--webui-port", "0")
    with ExitStack() as programs:
        here = ("--host", "127.0.0.1", "--port", "0")
        master = (f"{deploy}.master.Master", *here, *port)
        log = programs.enter_context(program(folder / "master", "spark-class", *master))
        url = said(log, r"Starting Spark master at (spark://\S+)")
        for number, host in enumerate(hosts, 1):
            worker = (f"{deploy}.worker.Worker", url, "--host", host, *port)
            size = ("--cores", "1", "--memory", "1g", "--work-dir", str(folder / f"work{number}"))
            log = programs.enter_context(
                program(folder / f"worker{number}", "spark-class", *worker, *size)
            )
            said(log, "Successfully registered with master")
        yield url


@contextmanager
def standalone(folder):
    """Give a session on a standalone master with two workers of one core."""
    with standalone_cluster(folder) as url:
        os.environ["PYSPARK_PYTHON"] = sys.executable
        with spark_session(url) as session:
            yield session


def processes(*words):
    """Return the processes with these words in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if all(word in line for word in words):
                found.append(int(path.parent.name))
    return found


def children(process):
    """Return the processes that one has begun, and those that these have."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = [process]
    for parent in found:
        found += [child for child, its_parent in parents.items() if its_parent == parent]
    return found[1:]
