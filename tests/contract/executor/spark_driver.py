"""A run on Spark as a process of its own, for tests that kill it.

    python -m tests.contract.executor.spark_driver SETTINGS FOLDER EXTRACT NIGHT [STAGE | MARKERS]

At STAGE the process kills itself. With MARKERS, a folder, the executor of the first block waits.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

from etl.pipeline.progress import PartitionDone, StageBegan
from etl.publish.object_keys import CLOSED
from etl.publish.target import Target
from etl.spark.session import _SETTINGS, spark_session
from etl.storage.port import StoreOptions
from tests.contract.executor.faulty_target import FaultyTarget
from tests.contract.executor.spark import on_spark
from tests.contract.executor.test_executor_contract import Payer, load

STAGES = ("the first unit", "publish", "commit")


def driver(settings, payer, extract, night, fault=""):
    """Begin a run; what it says goes to a file of the payer's folder."""
    arguments = [json.dumps(dict(settings)), str(payer.folder), str(extract), str(night), fault]
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path.cwd()),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable,
    }
    payer.folder.mkdir(parents=True, exist_ok=True)
    with (payer.folder / "driver.log").open("ab") as log:
        command = [sys.executable, "-m", "tests.contract.executor.spark_driver", *arguments]
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment)


def main(settings, folder, extract, night, fault):
    """Publish one night."""
    payer = Payer(load(), Path(folder))
    target = None
    if fault and fault not in STAGES:
        target = FaultyTarget(str(payer.target), StoreOptions(), markers=Path(fault), slow=True)

    def die(event):
        reached = {
            "the first unit": isinstance(event, PartitionDone),
            "publish": isinstance(event, StageBegan) and event.stage == "publish",
            "commit": isinstance(event, StageBegan) and event.stage == "commit",
        }
        if reached.get(fault):
            os.kill(os.getpid(), signal.SIGKILL)

    staging = Target(str(payer.target), StoreOptions(closed=CLOSED))
    with patch.dict(_SETTINGS, json.loads(settings)), spark_session(None) as session:
        executor = on_spark(session, load, staging)
        payer.publish(executor, Path(extract), int(night), die, target=target)


if __name__ == "__main__":
    main(*sys.argv[1:])
