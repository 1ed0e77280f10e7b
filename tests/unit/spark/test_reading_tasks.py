"""What executors read and what they leave to the driver, without any Spark."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from etl.sources.extract.opening import open_extract
from etl.sources.files.stored_files import FolderFiles
from etl.sources.partition.partition_rows import CutJob, FilePart, OwnerColumns
from etl.spark.pickling import pickled
from etl.spark.program import program_text
from etl.spark.reading_tasks import answering, cutting
from etl.spark.shuffled_rows import buckets_of, is_for_executors
from etl.spark.task_rows import TaskRow, batches_of, rows_of
from tests.e2e.commands import SAMPLES
from tests.unit.sources.extracts import write_extract


@pytest.fixture
def extract(tmp_path):
    return open_extract(write_extract(tmp_path / "in", {}), ())


def done(extract, table):
    """Return what becomes of the job that reads a raw table."""
    owners = OwnerColumns.of(extract.layout.raw[table], extract.layout)
    parts = tuple(FilePart.whole(file) for file in extract.files if file.table == table)
    job = CutJob(5, extract.place, 3, True, owners, parts)
    rows = batches_of([TaskRow(0, "job", "", job.number, pickled(job))])
    return list(rows_of(cutting(program_text(), 4)(rows)))


def ids(*numbers):
    return np.array(numbers, np.uint64).tobytes()


def test_a_job_yields_rows_ids_and_at_last_how_many_rows_its_parts_have(extract):
    rows = done(extract, "claim")
    assert [(row.kind, row.name, row.number) for row in rows] == [
        ("rows", "claim", 5),
        ("seen", "claim", 5),
        ("taken", "", 5),
    ]
    assert pa.ipc.open_stream(rows[0].body).read_all().column("claim_id").to_pylist() == ["CL1"]
    assert rows[-1].body.to_pybytes() == b"[1]"


def test_rows_that_follow_claims_are_cut_by_their_claim(extract):
    claims, lines = done(extract, "claim"), done(extract, "claim_line")
    assert [row.kind for row in lines] == ["follow", "taken"]
    assert lines[0].place == claims[1].place, "they meet in the bucket of the claim's hash"


def test_a_file_that_is_not_there_or_is_another_is_left_to_the_driver(extract, tmp_path):
    elsewhere = replace(extract, place=FolderFiles(tmp_path / "elsewhere"))
    assert [row.kind for row in done(elsewhere, "claim")] == ["unseen"]
    with (tmp_path / "in" / "claim.csv").open("a") as file:
        file.write("\n")
    assert [row.kind for row in done(extract, "claim")] == ["unseen"]


def test_buckets_answer_about_the_ids_that_are_asked_for():
    def buckets():
        yield TaskRow(0, "ids", "member", 0, ids(1, 3, 5))
        yield TaskRow(0, "ids", "claim", 0, ids(2, 4, 20, 40))
        yield TaskRow(1, "ids", "member", 0, ids(7))

    answer = answering(program_text(), {"member": ids(3, 4), "claim": ids(4)})
    found = [(row.name, row.body.to_pybytes()) for row in rows_of(answer(batches_of(buckets())))]
    assert found == [("member", ids(3)), ("claim", ids(4, 40))]


def test_executors_read_extracts_of_claims(extract):
    assert is_for_executors(extract)
    assert buckets_of(extract) == 8


def test_directories_are_for_the_driver():
    assert not is_for_executors(open_extract(SAMPLES / "directory", ()))
