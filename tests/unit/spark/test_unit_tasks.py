"""What goes to executors and comes back, without any Spark."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType

import pytest

from etl.errors import NotFound, StoreError, UsageError
from etl.pipeline.totals import outcome_to
from etl.pipeline.unit import UnitResult
from etl.publish.object_keys import CLOSED, STAGING
from etl.publish.prune import SWEPT
from etl.publish.reader import Tree
from etl.publish.target import Target
from etl.spark.pickling import pickled, unpickled
from etl.spark.staging import StagedValue, Staging, read_results, stage_results
from etl.spark.task_rows import TaskRow, batch_of_row, iterate_rows, rebuild_error, task_function
from etl.spark.unit_tasks import HEAD, check_same_target, finish_unit
from etl.storage.local import LocalStore
from etl.storage.port import StoreOptions
from tests.unit.pipeline.test_outcome import OUTCOME

ROW = batch_of_row(TaskRow(3, HEAD))


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
    value = {"a": (MappingProxyType({"b": MappingProxyType({})}),)}
    received = unpickled(pickled(value))
    assert received == value
    assert isinstance(received["a"][0]["b"], MappingProxyType)


@pytest.fixture
def staging(tmp_path):
    return Staging(Target(str(tmp_path), StoreOptions()))


def _only(results):
    (row,) = iterate_rows(results)
    return row.kind, row.name, row.body.decode()


def test_another_program_is_refused_before_anything_is_read(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("etl.spark.task_rows.program_text", lambda: "Python 2.7")
        function = task_function(finish_unit, Marked())
    kind, name, text = _only(function(iter([ROW])))
    assert (kind, name) == ("failed", "UsageError")
    assert text.startswith("the driver runs Python 2.7, an executor code ")
    assert isinstance(rebuild_error(name, text), UsageError)


class Marked:
    """A value that cannot be had where it arrives: what is said of that holds a cell."""

    def __reduce__(self):
        return int, ("a member's cell",)


def test_of_a_bug_its_place_alone_leaves_the_task():
    kind, name, text = _only(task_function(finish_unit, Marked())(iter([ROW])))
    assert (kind, name) == ("failed", "")
    assert re.fullmatch(r"ValueError in pickling\.py, line \d+, on an executor", text)
    assert type(rebuild_error(name, text)) is RuntimeError


def test_an_error_is_raised_as_what_it_was():
    assert isinstance(rebuild_error("StoreError", "the disk is full"), StoreError)
    assert str(rebuild_error("StoreError", "the disk is full")) == "the disk is full"
    assert type(rebuild_error("SystemExit", "0")) is RuntimeError


def test_a_folder_without_the_lease_of_the_run_is_another_one(tmp_path):
    here, elsewhere = LocalStore(tmp_path / "here"), LocalStore(tmp_path / "elsewhere")
    here.swap("leases/run-1.json", b"{}", None)
    check_same_target(Tree(here), ["leases/run-0.json", "leases/run-1.json"])
    check_same_target(Tree(elsewhere), [])
    with pytest.raises(StoreError, match="executors see another folder there than the driver"):
        check_same_target(Tree(elsewhere), ["leases/run-1.json"])
    with pytest.raises(NotFound):
        elsewhere.get("leases/run-1.json")


def test_staged_values_that_were_changed_are_not_believed(staging):
    facts, others = (StagedValue.put(staging, data) for data in (b"facts", b"others"))
    assert facts.read() == b"facts"
    path = Path(staging.target.name, staging.folder)
    shutil.copy(path / others.sha256, path / facts.sha256)
    with pytest.raises(StoreError, match="what was staged was changed"):
        facts.read()


def test_what_became_of_a_unit_is_found_as_it_was_staged(staging):
    results = [
        (range(at, at + 1), UnitResult(OUTCOME, {"rejected-00001": [b"a", b"b"], "e": []}))
        for at in (4, 5)
    ]
    stage_results(staging, 4, results)
    found = read_results(staging, 4)
    assert [part for part, _ in found] == [range(4, 5), range(5, 6)]
    for _, result in found:
        assert outcome_to(result.outcome) == outcome_to(OUTCOME)
        assert {name: b"".join(data) for name, data in result.files.items()} == {
            "rejected-00001": b"ab",
            "e": b"",
        }
    assert list(staging.names()) == ["4"]
    staging.delete()
    with pytest.raises(NotFound):
        read_results(staging, 4)


def test_staging_is_closed_to_others():
    assert STAGING.rstrip("/") in CLOSED
    assert STAGING in SWEPT
