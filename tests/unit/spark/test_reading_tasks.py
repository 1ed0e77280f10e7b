"""What executors read and what they leave to the driver, without any Spark."""

from dataclasses import replace

import pyarrow as pa
import pytest

from etl.publish.target import Target
from etl.sources.extract.opening import open_extract
from etl.sources.files.stored_files import FolderFiles
from etl.sources.partition.partition_rows import FilePart, OwnerColumns, ReadJob
from etl.spark.id_files import IdFiles
from etl.spark.member_rows import MEMBER_ROW, decode_tables
from etl.spark.pickling import pickled
from etl.spark.reading_tasks import assign_owners, read_jobs, save_ids
from etl.spark.shuffled_rows import is_for_executors, job_bytes_for
from etl.spark.staging import StagedFiles, Staging
from etl.spark.task_rows import TaskRow, batch_of_row, iterate_rows, task_function
from etl.storage.port import StoreOptions
from tests.e2e.commands import SAMPLES
from tests.unit.sources.extracts import write_extract

BUCKETS = 4


@pytest.fixture
def extract(tmp_path):
    return open_extract(write_extract(tmp_path / "in", {}), ())


@pytest.fixture
def staging(tmp_path):
    return Staging(Target(str(tmp_path / "target"), StoreOptions()))


def done(extract, table):
    """Return the batches that the job makes which reads a raw table."""
    owners = OwnerColumns.build(extract.layout.raw[table], extract.layout)
    parts = tuple(FilePart.whole_file(file) for file in extract.files if file.table == table)
    job = ReadJob(5, extract.location, 3, True, owners, parts)
    rows = iter([batch_of_row(TaskRow(0, "job", "", job.number, pickled(job)))])
    return list(task_function(read_jobs, BUCKETS)(rows))


def kinds(batches):
    return [row.kind for row in iterate_rows(batches)]


def rows_in(extract, batch):
    (table,) = decode_tables(pa.Table.from_batches([batch]), extract.files, digests=True).values()
    return table


def test_a_job_yields_rows_ids_and_at_last_how_many_rows_its_parts_have(extract):
    batches = done(extract, "claim")
    assert [(row.kind, row.name, row.number) for row in iterate_rows(batches)] == [
        (MEMBER_ROW, "", 5),
        ("seen", "claim", 5),
        ("taken", "", 5),
    ]
    assert rows_in(extract, batches[0]).column("claim_id").to_pylist() == ["CL1"]
    assert [*iterate_rows(batches)][-1].body == b"[1]"


def test_rows_that_follow_claims_meet_their_members_in_the_bucket_of_the_claim(extract, staging):
    claims, lines = done(extract, "claim"), done(extract, "claim_line")
    assert kinds(lines) == ["claim", "taken"]
    (seen,) = (row for row in iterate_rows(claims) if row.kind == "seen")
    assert lines[0].column("shard").to_pylist() == [seen.shard]
    ids = IdFiles(staging, BUCKETS)
    (saved,) = iterate_rows(task_function(save_ids, ids)(iter([batch_of_row(seen)])))
    assert (saved.kind, saved.name, saved.shard) == ("saved", "claim", seen.shard)
    ids = replace(ids, existing=frozenset({("claim", seen.shard)}))
    (owned,) = task_function(assign_owners, (ids, 3))(iter([lines[0]]))
    assert kinds([owned]) == [MEMBER_ROW]
    assert owned.column("shard").to_pylist() == claims[0].column("shard").to_pylist()
    owners = [rows_in(extract, batch).column("_owner").to_pylist() for batch in (owned, claims[0])]
    assert owners[0] == owners[1]


def test_a_task_with_rows_of_two_places_refuses_them(extract, staging):
    (seen,) = (row for row in iterate_rows(done(extract, "claim")) if row.kind == "seen")
    two = iter([batch_of_row(seen), batch_of_row(seen._replace(shard=(seen.shard + 1) % BUCKETS))])
    (failed,) = iterate_rows(task_function(save_ids, IdFiles(staging, BUCKETS))(two))
    assert (failed.kind, failed.name) == ("failed", "")


def test_a_file_that_is_not_there_or_is_another_is_not_seen(extract, tmp_path):
    elsewhere = replace(extract, location=FolderFiles(tmp_path / "elsewhere"))
    assert _failure(done(elsewhere, "claim")) == "NotFound"
    with (tmp_path / "in" / "claim.csv").open("a") as file:
        file.write("\n")
    assert _failure(done(extract, "claim")) == "NotFound"


def _failure(batches):
    (row,) = iterate_rows(batches)
    assert row.kind == "failed"
    return row.name


def test_staged_files_are_read_like_those_that_they_were_made_of(extract, staging):
    names = frozenset(file.name for file in extract.files)
    staged = replace(extract, location=StagedFiles.put(staging, extract.location, names))
    assert done(staged, "claim_line") == done(extract, "claim_line")
    assert staged.location.name == extract.location.name


def test_staged_files_can_be_sought_in(staging, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.bin").write_bytes(bytes(range(256)))
    (tmp_path / "in" / "b.bin").touch()
    place = StagedFiles.put(staging, FolderFiles(tmp_path / "in"), frozenset({"a.bin", "b.bin"}))
    with place.open("a.bin") as file:
        assert file.seek(-6, 2) == 250
        assert file.read() == bytes(range(250, 256))
        assert file.read(1) == b""
        file.seek(3)
        assert file.read(2) == b"\3\4"
    with place.open("b.bin") as file:
        assert file.read() == b""


def test_executors_read_extracts_of_claims_and_the_driver_directories(extract):
    assert is_for_executors(extract)
    assert not is_for_executors(open_extract(SAMPLES / "directory", ()))


def test_a_table_twenty_times_as_large_has_twenty_times_as_many_tasks():
    sizes = (20_000_000_000, 400_000_000_000)
    fewer, more = (size // job_bytes_for(size) for size in sizes)
    assert (fewer, more) == (298, 5_960)
