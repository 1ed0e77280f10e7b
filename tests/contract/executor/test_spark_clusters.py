"""Spark on clusters that die in part: the same tree, or none."""

import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import pytest

from etl.publish.target import Target
from etl.sources.files.stored_files import ObjectFiles
from etl.spark.session import spark_session
from etl.spark.staging import Staging
from etl.storage.port import StoreOptions
from tests.contract.executor.spark import MARKS, cluster, on_spark, spark_or_skip
from tests.contract.executor.spark_programs import children, processes, program, said, standalone
from tests.contract.executor.test_executor_contract import Payer, load
from tests.given.object_storage import BUCKET, SECRETS, sign_in_to_s3, start_weed
from tests.ports import free_port
from tests.unit.publish.samples import objects
from tests.waiting import until

pytestmark = list(MARKS)


@pytest.mark.long
@pytest.mark.parametrize("victim", ["executor", "Python"])
def test_an_executor_or_its_python_that_is_killed_leaves_the_same_tree(
    definitions, extract, expected, tmp_path, victim
):
    payer = Payer(definitions, tmp_path / "payer")
    killed = list[int]()

    def kill(application):
        """Kill one executor once the first block is there: others are being made."""
        until(lambda: any(payer.target.glob("patients/**/*")), 300)
        executor = processes("CoarseGrainedExecutorBackend", application)[0]
        for process in [executor] if victim == "executor" else children(executor):
            with suppress(ProcessLookupError):  # it ended with the one before
                os.kill(process, signal.SIGKILL)
                killed.append(process)

    with standalone(tmp_path) as session:
        application = session.sparkContext.applicationId
        killer = threading.Thread(target=kill, args=(application,))
        killer.start()
        payer.publish(on_spark(session, load), extract, 1)
        killer.join()
    assert killed
    assert payer.files() == expected


def test_spark_connect_makes_the_same_tree(definitions, extract, expected, tmp_path):
    spark_or_skip("grpc")
    os.environ["PYSPARK_PYTHON"] = sys.executable
    port = free_port()
    service = "org.apache.spark.sql.connect.service.SparkConnectServer"
    options = ("--class", service, "--master", "local[2]", "--conf")
    binding = f"spark.connect.grpc.binding.port={port}"
    server = program(tmp_path / "server", "spark-submit", *options, binding, "spark-internal")
    payer = Payer(definitions, tmp_path / "payer")
    # pyspark remembers in the environment that it is a client, and begins nothing else then.
    with patch.dict(os.environ), server as log:
        said(log, "Spark Connect server started")
        with spark_session(f"sc://127.0.0.1:{port}") as session:
            payer.publish(on_spark(session, load), extract, 1)
    assert payer.files() == expected


@pytest.mark.parametrize(
    "source", ["the driver's disk", pytest.param("s3", marks=pytest.mark.long)]
)
def test_executors_publish_to_s3_themselves_and_read_from_there(
    definitions, extract, expected, tmp_path, monkeypatch, source
):
    sign_in_to_s3(monkeypatch, "publisher", SECRETS["publisher"])
    payer = Payer(definitions, tmp_path)
    with start_weed(tmp_path / "weed") as server, cluster() as session:
        options = StoreOptions(endpoint_url=server.endpoint_url, region="us-east-1")
        target = Target(f"s3://{BUCKET}/tree", options)
        if source == "s3":
            files = Target(f"s3://{BUCKET}/in", options).store()
            for path in extract.iterdir():
                files.put(path.name, path.read_bytes())
            place = ObjectFiles(f"s3://{BUCKET}/in", options)
        else:  # the present folder of each process: executors have others
            monkeypatch.chdir(extract.parent)
            place = Path("/proc/self/cwd", extract.name)
        staged, put = list[str](), Staging.put

        def note(staging, name, data):
            staged.append(f"{staging.folder}/{name}")
            put(staging, name, data)

        monkeypatch.setattr(Staging, "put", note)  # of the driver
        payer.publish(on_spark(session, load, target), place, 1, target=target)
        is_staged = any("/input/" in name for name in staged)
        assert is_staged is (source != "s3"), "executors read what they see"
        lock = {".lock": b""}  # of a folder, which has no conditional writes
        assert objects(target.store()) | lock == expected
