"""What goes to executors and comes back, without any Spark."""

import re
import subprocess
import sys
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pytest

from etl.errors import NotFound, StoreError, UsageError
from etl.local.executor import LocalExecutor
from etl.local.workers import Workers
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN
from etl.spark.executor import SparkExecutor
from etl.spark.pickling import packed, pickled, unpacked, unpickled
from etl.spark.program import program_text
from etl.spark.task_rows import raised
from etl.spark.unit_tasks import check_same_target, finishing
from etl.storage.local import LocalStore

ROW = pa.record_batch(
    {
        "place": pa.array([3], pa.int32()),
        "kind": pa.array(["unit"], pa.string()),
        "name": pa.array([""], pa.string()),
        "number": pa.array([5], pa.int32()),
        "body": pa.array([b""], pa.binary()),
    }
)


def test_executors_need_neither_pandas_nor_great_expectations_nor_pyspark():
    program = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('pandas', 'great_expectations', 'pyspark', 'matplotlib', 'boto3'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "import etl.spark.reading_tasks, etl.spark.unit_tasks\n"
        "print('loaded')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("loaded\n", "")


def test_read_only_mappings_are_sent_in_whatever_they_are():
    value: dict[str, Any] = {"a": (MappingProxyType({"b": MappingProxyType({})}),)}
    received = unpickled(pickled(value))
    assert received == value
    assert isinstance(received["a"][0]["b"], MappingProxyType)


def test_tables_are_packed_and_come_back_equal():
    rows = pa.table({"x": ["m1", None] * 500, FILE_COLUMN: [0] * 1000, ROW_COLUMN: range(1000)})
    tables = {("claim", 3): rows, ("_ragged", None): rows.slice(0, 1)}
    data = packed(tables)
    assert unpacked(data) == tables
    assert len(data) < rows.nbytes / 3


def _only(results):
    (batch,) = results
    (row,) = batch.to_pylist()
    assert row["number"] == 3
    return row["kind"], row["name"], row["body"].decode()


def test_another_program_is_refused_before_anything_is_read():
    kind, name, text = _only(finishing("Python 2.7", b"no pickle", {})(iter([ROW])))
    assert (kind, name) == ("failed", "UsageError")
    assert text.startswith("the driver runs Python 2.7, an executor code ")
    assert isinstance(raised(name, text), UsageError)


class Marked:
    """A value that cannot be had where it arrives: what is said of that holds a cell."""

    def __reduce__(self):
        return int, ("a member's cell",)


def test_of_a_bug_its_place_alone_leaves_the_task():
    kind, name, text = _only(finishing(program_text(), pickled(Marked()), {})(iter([ROW])))
    assert (kind, name) == ("failed", "")
    assert re.fullmatch(r"ValueError in pickling\.py, line \d+, on an executor", text)
    assert type(raised(name, text)) is RuntimeError


def test_an_error_is_raised_as_what_it_was():
    assert isinstance(raised("StoreError", "the disk is full"), StoreError)
    assert str(raised("StoreError", "the disk is full")) == "the disk is full"
    assert type(raised("SystemExit", "0")) is RuntimeError


def test_a_folder_without_the_lease_of_the_run_is_another_one(tmp_path):
    here, elsewhere = LocalStore(tmp_path / "here"), LocalStore(tmp_path / "elsewhere")
    here.swap("leases/run-1.json", b"{}", None)
    check_same_target(here, ["leases/run-0.json", "leases/run-1.json"])
    check_same_target(elsewhere, [])
    with pytest.raises(StoreError, match="executors see another folder there than the driver"):
        check_same_target(elsewhere, ["leases/run-1.json"])
    with pytest.raises(NotFound):
        elsewhere.get("leases/run-1.json")


def test_a_unit_that_is_too_large_to_be_sent_is_refused_in_a_sentence():
    with Workers(1, lambda: object()) as workers:
        executor = SparkExecutor(LocalExecutor(workers), session=None, together=1 << 20)
        executor.check_size(range(7, 8), 1 << 20)
        with pytest.raises(StoreError, match=r"partition 7 has 3 MiB .* at most 1 can be sent"):
            executor.check_size(range(7, 8), 3 << 20)
