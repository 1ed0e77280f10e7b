"""Drivers and whole machines that are killed: what readers see, what is left on disks."""

import csv
import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest

from etl.publish.reader import open_current
from etl.storage.local import LocalStore
from tests.contract.executor.spark import MARKS, entangled, spark_or_skip
from tests.contract.executor.spark_driver import STAGES, driver
from tests.contract.executor.spark_programs import children, processes, standalone_cluster
from tests.contract.executor.test_executor_contract import Payer, direct_executor
from tests.waiting import until

pytestmark = [*MARKS, pytest.mark.long]

HERE = {"spark.master": "local[2]", "spark.ui.enabled": "false"}
_ZSTD = b"\x28\xb5\x2f\xfd"


@pytest.fixture(scope="module")
def extracts(tmp_path_factory):
    first, second = (entangled(tmp_path_factory.mktemp("extract"), day) for day in (0, 1))
    return first, second


@pytest.fixture(scope="module")
def expected(definitions, extracts, tmp_path_factory):
    """The trees of one night and of two."""
    first, second = (Payer(definitions, tmp_path_factory.mktemp("expected")) for _ in range(2))
    first.publish(direct_executor, extracts[0], 1)
    shutil.copytree(first.target, second.target)
    second.publish(direct_executor, extracts[1], 2)
    return first, second


@pytest.mark.parametrize("stage", STAGES)
def test_a_driver_that_is_killed_changes_nothing_for_readers_and_the_next_ends_as_undisturbed(
    definitions, extracts, expected, tmp_path, stage
):
    spark_or_skip()
    before, after = expected
    payer = Payer(definitions, tmp_path)
    shutil.copytree(before.target, payer.target)
    killed = driver(HERE, payer, extracts[1], 2, stage)
    assert killed.wait(600) == -signal.SIGKILL, (payer.folder / "driver.log").read_text()
    now = payer.files()  # current.json as well
    assert {name: now.get(name) for name in before.files()} == before.files()
    assert len(now) > len(before.files())  # it had begun to publish
    again = driver(HERE, payer, extracts[1], 2)
    assert again.wait(600) == 0, (payer.folder / "driver.log").read_text()
    assert payer.files() == after.files()


def _values(extract):
    """Return ids, names and numbers of members and claims that are in an extract."""
    columns = {
        "member.csv": ("member_id", "unique_member_id", "phone", "email", "address_line"),
        "claim.csv": ("claim_id", "patient_account_number"),
        "coverage.csv": ("coverage_id", "subscriber_id"),
    }
    found = set[bytes]()
    for name, wanted in columns.items():
        with (extract / name).open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                found |= {(row.get(column) or "").encode() for column in wanted}
    return {value for value in found if len(value) >= 8}


def _texts(data):
    """Yield what a file holds: as it is, and each compressed piece of it."""
    yield data
    start = data.find(_ZSTD)
    while start >= 0:
        read = bytearray()
        stream = pa.CompressedInputStream(pa.BufferReader(data[start:]), "zstd")
        with suppress(OSError):
            while piece := stream.read(4096):
                read += piece
        yield bytes(read)
        start = data.find(_ZSTD, start + 1)


def _found(folders, values):
    """Return each file with a value of a member, and one of these."""
    found = list[tuple[Path, bytes]]()
    for path in (path for folder in folders for path in folder.rglob("*") if path.is_file()):
        texts = _texts(path.read_bytes())
        held = next((value for text in texts for value in values if value in text), None)
        if held is not None:
            found.append((path, held))
    return found


@pytest.mark.parametrize("encrypted", [True, False], ids=["encrypted", "plain"])
def test_machines_that_are_killed_leave_no_members_data_but_in_the_work_folder_and_encrypted(
    definitions, extracts, expected, tmp_path, monkeypatch, encrypted
):
    """Without encryption the same search finds them: it would have found them with it."""
    spark_or_skip()
    payer, markers, scratch = Payer(definitions, tmp_path / "payer"), tmp_path / "m", tmp_path / "s"
    folders = {name: scratch / name for name in ("local", "java", "tmp", "events", "cluster")}
    for folder in (markers, *folders.values()):
        folder.mkdir(parents=True)
    java = f"-Djava.io.tmpdir={folders['java']}"
    monkeypatch.setenv("TMPDIR", str(folders["tmp"]))
    monkeypatch.setenv("SPARK_LOCAL_DIRS", str(folders["local"]))
    monkeypatch.setenv("SPARK_DAEMON_JAVA_OPTS", java)
    settings = {
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": folders["events"].as_uri(),
        "spark.driver.extraJavaOptions": java,
        "spark.executor.extraJavaOptions": java,
        "spark.shuffle.compress": "false",  # for the search
    }
    if not encrypted:
        settings["spark.io.encryption.enabled"] = "false"
    with standalone_cluster(folders["cluster"]) as url:
        workers = processes("org.apache.spark.deploy.worker.Worker", url)
        assert len(workers) == 2
        run = driver(settings | {"spark.master": url}, payer, extracts[0], 1, str(markers))
        until(lambda: (markers / "slow").exists() or run.poll() is not None, 300)
        assert run.poll() is None, (payer.folder / "driver.log").read_text()
        # A worker that lives on would clean up; the driver's Java as well.
        for process in (*workers, run.pid):
            theirs = children(process)
            os.kill(process, signal.SIGKILL)
            for child in theirs:
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
        run.wait()
    assert open_current(LocalStore(payer.target)).release is None
    work = payer.folder / "work"
    assert not work.stat().st_mode & 0o077
    assert not (payer.target / "staging").stat().st_mode & 0o077
    (scratch / "driver.log").write_bytes((payer.folder / "driver.log").read_bytes())
    assert any(path.is_file() for path in folders["local"].rglob("shuffle_*.data"))
    assert any(path.is_file() for path in folders["events"].rglob("*"))
    found = _found([scratch], _values(extracts[0]))
    if not encrypted:
        assert found
        return
    assert not found
    again = driver(HERE, payer, extracts[0], 1)
    assert again.wait(600) == 0, (payer.folder / "driver.log").read_text()
    assert payer.files() == expected[0].files()
