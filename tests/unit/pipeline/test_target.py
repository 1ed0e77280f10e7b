"""The target of a run, as processes elsewhere open it."""

import pickle

from etl.publish import target
from etl.publish.target import RunStore, Target
from etl.storage.open_store import open_store
from etl.storage.port import StoreOptions
from tests.e2e.commands import cpcds, done
from tests.unit.pipeline.small_run import two_members
from tests.unit.sources.extracts import write_extract


def test_a_folder_is_the_same_from_any_current_folder(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    published = Target("published", StoreOptions()).in_any_folder()
    published.store().put("a", b"here")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert published.store().get("a") == b"here"
    assert (tmp_path / "published" / "a").read_bytes() == b"here"


def test_object_storage_has_no_current_folder():
    published = Target("s3://bucket/published", StoreOptions())
    assert published.in_any_folder() == published


def test_jobs_of_a_run_that_come_to_a_process_find_one_store(tmp_path):
    """Each job brings a copy of what it works on; to make clients for each took half of a run."""
    there = Target(str(tmp_path / "published"), StoreOptions())
    of_run = RunStore(there)
    assert of_run() is of_run()
    first, second = (pickle.loads(pickle.dumps(of_run)) for _ in range(2))  # noqa: S301
    assert first() is second()
    # The next run of the process that began this one has a store of its own.
    assert RunStore(there)() is not of_run()


def test_a_run_opens_its_target_once_however_many_partitions_there_are(tmp_path, monkeypatch):
    extract = write_extract(tmp_path / "in", two_members())
    opened = []

    def counted(name, options):
        opened.append(name)
        return open_store(name, options)

    monkeypatch.setattr(target, "open_store", counted)
    times = []
    for rows in ("200000", "1"):
        opened.clear()
        command = ("run", extract, "--to", tmp_path / rows, "--workers", "1")
        done(cpcds(*command, CPCDS_RUN__PARTITION_ROWS=rows))
        times.append(len(opened))
    assert times[0] == times[1] > 0
