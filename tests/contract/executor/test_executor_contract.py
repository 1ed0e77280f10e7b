"""The contract of executors: trees that are equal to the byte, whoever dies meanwhile."""

import gzip
import multiprocessing
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest

from etl.bootstrap.settings import read_settings
from etl.errors import StoreError
from etl.local.executor import LocalExecutor
from etl.local.memory import MemoryBudget
from etl.local.workers import Workers
from etl.pipeline.context import Executor, RunContext, RunOptions, RunPolicy, Task
from etl.pipeline.definitions import Definitions
from etl.pipeline.incremental.cache import CachedResults
from etl.pipeline.incremental.reuse import ReusableResults
from etl.pipeline.one_off import convert, validate
from etl.pipeline.progress import PartitionDone, StageAdvanced, StageBegan, ignore
from etl.pipeline.read import open_with
from etl.pipeline.release_limits import ReleaseLimits
from etl.pipeline.run import run
from etl.publish.bulk_files import BulkOptions
from etl.publish.bulk_pages import write_pages
from etl.publish.reader import open_current
from etl.publish.target import RunStore, Target
from etl.publish.verify import verify
from etl.publish.writer import ReleaseWriter
from etl.sources.files.listed_files import FileProgress
from etl.sources.partition.finished_steps import STEPS_FILE
from etl.storage.local import LocalStore
from etl.storage.port import StoreOptions
from etl.synth import Spec, write_extract
from tests.contract.executor.direct import DirectExecutor
from tests.contract.executor.frames import Session
from tests.contract.executor.spark import MARKS, cluster, entangled, on_spark
from tests.e2e.commands import same_definitions
from tests.fault.faulty import Killed

FIRST = datetime(2026, 1, 1, 3, tzinfo=UTC)
ANY = Decimal(1_000_000)
LIMITS = ReleaseLimits(ANY, ANY, ANY, ANY, ANY, ANY, ANY, Decimal(0))
BULK = BulkOptions(snapshot_every=1, file_bytes=4000)
"""A snapshot each night, of several files a type."""

FRAMES = -1
"""Stands for an executor on Spark with frames in memory."""

Open = Callable[[], AbstractContextManager[Executor]]


load = partial(
    same_definitions, read_settings(None, limits={"rejected_claims": 1, "unowned_rows": 1000})
)
"""Loads definitions that let mistakes through."""


@pytest.fixture(scope="module")
def extracts(tmp_path_factory):
    """Two nights of a small payer, with mistakes in them."""
    folder = tmp_path_factory.mktemp("extracts")
    for day in (0, 1):
        spec = Spec(8, since=date(2024, 12, 31), day=day, change_rate=0.3, fault_rate=0.05, seed=3)
        write_extract(folder / str(day), spec)
    return folder / "0", folder / "1"


@contextmanager
def _local(processes):
    with Workers(processes, load) as workers:
        yield LocalExecutor(workers)


def direct_executor():
    return nullcontext(DirectExecutor())


@dataclass(frozen=True)
class Kind:
    """A kind of executor.

    Attributes:
        processes: how many work for it.
        open: opens one.
    """

    processes: int
    open: Open

    def lose(self):
        """Lose a worker; the only one takes the run along."""
        if self.processes == 1:
            raise Killed
        for child in multiprocessing.active_children()[:1]:
            os.kill(child.pid, signal.SIGKILL)
            child.join()


@pytest.fixture(scope="module")
def session():
    with cluster() as opened:
        yield opened


KINDS = {
    "one process": (1, ()),
    "two processes": (2, (pytest.mark.slow,)),
    "frames": (FRAMES, (pytest.mark.slow,)),
    "Spark": (0, MARKS),
}
"""Each kind of executor: its number of processes, and marks of its tests."""


def with_kinds(*names, long=()):
    """Have a test run with kinds of executors, all or those named; with some by hand alone."""
    kinds = []
    for name in names or KINDS:
        processes, marks = KINDS[name]
        by_hand = [pytest.mark.long] if name in long else []
        kinds.append(pytest.param(processes, id=name, marks=[*marks, *by_hand]))
    return pytest.mark.parametrize("kind", kinds, indirect=True)


@pytest.fixture(scope="module")
def kind(request):
    processes = request.param
    if processes == FRAMES:
        return Kind(1, on_spark(Session(), load))
    if not processes:  # the driver is one process, and its end the end of the run
        return Kind(1, on_spark(request.getfixturevalue("session"), load))
    return Kind(processes, partial(_local, processes))


@dataclass(frozen=True)
class Payer:
    """A target, with a work folder beside it.

    Attributes:
        definitions: of what is published.
        folder: holds both.
        partition_rows: few, so that there are many partitions.
    """

    definitions: Definitions
    folder: Path
    partition_rows: int = 150

    @property
    def target(self):
        return self.folder / "tree"

    def context(self, executor, extract, when, emit=ignore):
        work = self.folder / "work"
        work.mkdir(parents=True, exist_ok=True, mode=0o700)
        opened = open_with(extract, self.definitions, None, ignore)
        options = RunOptions(partition_rows=self.partition_rows)
        return RunContext(opened, self.definitions, work, executor, when, options, emit)

    def publish(self, open_executor, extract, night, emit=ignore, *, target=None):
        target = target or Target(str(self.target), StoreOptions())
        store = target.store()
        with open_executor() as executor:
            context = self.context(executor, extract, FIRST + timedelta(days=night), emit)
            previous = open_current(store)
            policy, writer = RunPolicy(target, LIMITS, BULK), ReleaseWriter(store, previous)
            run(context, previous, policy, writer, lambda: context.when)
            write_pages(store, BULK)

    def files(self):
        return _files(self.target)


def _files(folder):
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def expected(definitions, extracts, tmp_path_factory):
    """The trees of one night and of two, made by no more than the functions of the port."""
    payers = []
    for nights in (1, 2):
        payer = Payer(definitions, tmp_path_factory.mktemp(f"nights{nights}"))
        if payers:
            shutil.copytree(payers[0].target, payer.target)
        payer.publish(direct_executor, extracts[nights - 1], nights)
        payers.append(payer)
    return payers[0], payers[1]


@with_kinds(long=["frames", "Spark"])
@pytest.mark.slow
def test_the_trees_of_two_nights_are_equal_ledgers_included(
    kind, definitions, extracts, expected, tmp_path
):
    payer = Payer(definitions, tmp_path)
    reused, stage = 0, ""
    planned, done = Counter[str](), Counter[str]()

    def count(event):
        nonlocal reused, stage
        match event:
            case PartitionDone():
                reused += event.reused
            case StageBegan():
                stage = event.stage
                planned[stage] += event.total or 0
            case StageAdvanced():
                done[stage] += event.count

    for night, whole in enumerate(expected):
        payer.publish(kind.open, extracts[night], night + 1, count)
        assert payer.files() == whole.files()
        assert any(name.endswith(".ledger") for name in payer.files())
        assert sum(name.startswith("bulk/") for name in payer.files()) > 10
        assert (reused > 0) is (night > 0)
        assert done["partitions"] == planned["partitions"] > 0
    assert reused > 0


def _checked_and_converted(payer, open_executor, extract):
    """Return the files of a validation and of a conversion."""
    checked, converted = payer.folder / "checked", payer.folder / "converted"
    for use, call in ((checked, validate), (converted, convert)):
        use.mkdir(parents=True)
        with open_executor() as executor:
            call(payer.context(executor, extract, FIRST), use)
    return _files(checked), _files(converted)


@pytest.fixture(scope="module")
def expected_files(definitions, extracts, tmp_path_factory):
    """The files of a validation and of a conversion, made by no more than the port's functions."""
    payer = Payer(definitions, tmp_path_factory.mktemp("files"))
    return _checked_and_converted(payer, direct_executor, extracts[0])


@with_kinds(long=["frames"])
@pytest.mark.slow
def test_validation_and_conversion_write_equal_files(
    kind, definitions, extracts, expected_files, tmp_path
):
    checked, converted = _checked_and_converted(
        Payer(definitions, tmp_path), kind.open, extracts[0]
    )
    assert checked == expected_files[0]
    assert any(name.startswith("quarantine/") for name in checked)
    assert converted == expected_files[1]
    assert "Patient.ndjson" in converted


@with_kinds()
@pytest.mark.slow
def test_a_release_is_verified_alike_down_to_what_is_broken(kind, expected, tmp_path):
    folder = shutil.copytree(expected[1].target, tmp_path / "tree")
    damaged, gone = sorted(folder.glob("patients/**/*.ndjson.gz"))[:2]
    for path in (damaged, gone, damaged.parent):
        path.chmod(0o700)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    gone.unlink()
    release = open_current(LocalStore(folder)).release
    alone = verify(release)
    assert {each.kind for each in alone.problems} == {"damaged", "missing"}
    with kind.open() as executor:
        if isinstance(executor, LocalExecutor):
            executor.workers.begin(kind.processes)
        open_store = RunStore(Target(str(folder), StoreOptions()))
        assert verify(release, runner=executor, open_store=open_store) == alone


@pytest.mark.slow
def test_a_member_who_does_not_fit_into_an_executor_ends_the_run_in_a_sentence(
    definitions, extracts, tmp_path, monkeypatch
):
    monkeypatch.setattr("etl.spark.unit_tasks.MANY_ROWS", 10)
    monkeypatch.setattr("etl.spark.unit_tasks.free_memory", lambda: MemoryBudget(1, False, False))
    payer = Payer(definitions, tmp_path)
    with pytest.raises(StoreError, match=r"one member has \d+ rows, .* this machine has free"):
        payer.publish(on_spark(Session(), load), extracts[0], 1)
    assert open_current(LocalStore(payer.target)).release is None


@with_kinds(long=["Spark"])
@pytest.mark.slow
@pytest.mark.parametrize("stage", ["reading", "the first unit", "bulk files"])
def test_a_run_that_lost_a_worker_stops_and_the_next_ends_as_an_undisturbed_one(
    kind, definitions, extracts, expected, tmp_path, stage
):
    payer = Payer(definitions, tmp_path)

    def lose(event):
        reached = {
            "reading": isinstance(event, FileProgress),
            "the first unit": isinstance(event, PartitionDone),
            "bulk files": isinstance(event, StageBegan) and event.stage == "publish",
        }
        if reached[stage]:
            kind.lose()

    with pytest.raises((StoreError, Killed)):
        payer.publish(kind.open, extracts[0], 1, lose)
    assert open_current(LocalStore(payer.target)).release is None
    payer.publish(kind.open, extracts[0], 1)
    assert payer.files() == expected[0].files()


@pytest.mark.slow
def test_a_run_whose_units_are_all_finished_begins_no_job_of_spark(
    definitions, extracts, expected, tmp_path, monkeypatch
):
    payer = Payer(definitions, tmp_path)

    def lose(event):
        if isinstance(event, StageBegan) and event.stage == "publish":
            raise Killed

    with pytest.raises(Killed):
        payer.publish(on_spark(Session(), load), extracts[0], 1, lose)
    monkeypatch.setattr("etl.spark.executor.finish_unit", None)
    payer.publish(on_spark(Session(), load), extracts[0], 1)
    assert payer.files() == expected[0].files()


@with_kinds()
@pytest.mark.slow
def test_an_interrupted_run_leaves_no_process_and_is_gone_on_from(
    kind, definitions, extracts, expected, tmp_path
):
    payer = Payer(definitions, tmp_path)

    def interrupt(event):
        if isinstance(event, PartitionDone) and event.index == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        payer.publish(kind.open, extracts[0], 1, interrupt)
    assert multiprocessing.active_children() == []
    assert open_current(LocalStore(payer.target)).release is None
    # Another unit may have been at its last file when its worker was ended: it is not on the list.
    listed = "".join(path.read_text() for path in payer.folder.rglob(STEPS_FILE))
    paths = [path for path in payer.folder.rglob("*.outcome") if path.name in listed]
    finished = {path: path.stat().st_mtime_ns for path in paths}
    assert len(finished) >= 2
    # Hours later: the run has the time of its first attempt, and keeps what that finished.
    payer.publish(kind.open, extracts[0], 1.25)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert payer.files() == expected[0].files()


@pytest.mark.slow
def test_whatever_members_share_is_the_same_from_memory(definitions, tmp_path):
    executor = DirectExecutor(detached=True)
    _same_of_entangled(definitions, tmp_path, lambda: nullcontext(executor))
    assert sum(executor.asked) > 8, executor.asked


@with_kinds("frames", "Spark", long=["frames"])
def test_whatever_members_share_is_the_same_on_spark(kind, definitions, tmp_path):
    _same_of_entangled(definitions, tmp_path, kind.open)


def _same_of_entangled(definitions, folder, open_executor):
    one, other = (Payer(definitions, folder / name, 300) for name in ("one", "other"))
    for night in (0, 1):
        extract = entangled(folder / f"extract{night}", night)
        one.publish(direct_executor, extract, night)
        other.publish(open_executor, extract, night)
        assert other.files() == one.files()
    rejected = {name.rpartition("/")[2] for name in one.files() if name.startswith("quarantine/")}
    assert {"claim.csv", "claim_line.csv", "coverage.csv"} <= rejected
    assert {"prior_auth.csv", "prior_auth_line.csv", "prior_auth.ragged.csv"} <= rejected
    blocks = [data for name, data in one.files().items() if name.endswith(".ndjson.gz")]
    assert sum(b'"preauthorization"' in gzip.decompress(data) for data in blocks) > 5


def test_units_follow_from_the_number_of_partitions_alone():
    first = Task(None, {}, None, None)
    results = CachedResults([], 1, None, (), None)
    night = Task(None, {}, None, None, previous=ReusableResults(results))
    for count in (1, 7, 8, 9, 16, 63, 64, 100, 16_384):
        assert first.units(count) == [range(index, index + 1) for index in range(count)]
        units = night.units(count)
        assert [index for unit in units for index in unit] == list(range(count))
        assert max(len(unit) for unit in units) <= 8
        assert len(units) >= min(count, 2)
