"""A work folder that was damaged between two attempts changes nothing of what is published."""

import json
import os
import shutil
from collections import Counter
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path, PurePath

import pytest

from etl.bootstrap import opened_extract
from etl.errors import StoreError
from etl.local.executor import LocalExecutor
from etl.pipeline.progress import PartitionDone
from etl.sources.partition.finished_steps import STEPS_FILE
from etl.synth.extract import write_extract
from etl.synth.spec import Spec
from tests.given.damage import DAMAGE
from tests.integration.nights import Payer

ATTEMPT = 2
"""Partitions that the attempt finished which the next one goes on from."""


class Cut(Exception):
    """The power failed."""


@dataclass
class Attempt:
    """A target with the work folder of an attempt that died, to be copied and damaged.

    Attributes:
        payer: publishes to it.
        extract: what it publishes.
        kept: a copy of the target as the attempt left it.
        expected: what an undisturbed run publishes.
    """

    payer: Payer
    extract: Path
    kept: Path
    expected: dict[str, bytes]

    @property
    def files(self):
        """Every file that the attempt left in its work folder."""
        work = self.kept / opened_extract.WORK
        return sorted(str(path.relative_to(work)) for path in work.rglob("*") if path.is_file())

    def fresh_work(self):
        """Return where the work folder of a target is, in which nothing is."""
        shutil.rmtree(self.payer.target, ignore_errors=True)
        self.payer.target.mkdir()
        return self.payer.target / opened_extract.WORK

    def begun_work(self):
        """Return the work folder that the attempt left."""
        work = self.fresh_work()
        shutil.copytree(self.kept, self.payer.target, dirs_exist_ok=True)
        return work

    def finished_after(self, damage, name):
        """Damage a file, and see that the next attempt publishes what it should."""
        damage(self.begun_work() / name)
        payer = replace(self.payer)
        payer.run(self.extract)
        found = payer.files()
        assert found.keys() == self.expected.keys(), name
        assert found == self.expected, name


@pytest.fixture(scope="module")
def attempt(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("damaged")
        extract = folder / "extract"
        write_extract(extract, Spec(5, since=date(2024, 6, 1)))
        payer = Payer(folder / "tree", patch, {"run": {"workers": 1, "partition_rows": 250}})
        undisturbed = replace(payer, target=folder / "whole")
        undisturbed.run(extract)
        done = 0

        def fail(event):
            nonlocal done
            done += isinstance(event, PartitionDone)
            if done > ATTEMPT:
                raise Cut

        with pytest.raises(Cut):
            replace(payer).run(extract, emit=fail)
        kept = folder / "kept"
        shutil.copytree(payer.target, kept)
        yield Attempt(payer, extract, kept, undisturbed.files())


OF_AN_EMPTY_FILE = ("missing", "longer")
"""What changes a file that has nothing in it: a set of hashes may be empty."""


def test_an_attempt_leaves_every_kind_of_file(attempt):
    kinds = {name.rpartition("/")[2].partition(".")[2] for name in attempt.files}
    assert {
        "index.npy",
        "00000.rows",
        "hashes",
        "outcome",
        "catalog.ndjson",
        "arrow",
        "list",
    } <= kinds


def test_what_was_not_damaged_is_gone_on_from(attempt, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("it was read already")

    monkeypatch.setattr("etl.local.executor.partition_extract", refuse)
    attempt.finished_after(lambda _: None, "")


def test_the_list_names_every_file_that_the_next_attempt_believes(attempt):
    (work,) = (attempt.kept / opened_extract.WORK).iterdir()
    lines = (work / STEPS_FILE).read_text().split("\n")
    steps = [json.loads(line.partition(" ")[2]) for line in lines if line]
    named = {f"{work.name}/{name}" for step in steps for name in step["files"]}
    made_anew = {"organization.arrow", "practitioner.arrow", STEPS_FILE}
    assert {each for each in attempt.files if each not in named} == {
        f"{work.name}/{name}" for name in made_anew
    }


@pytest.mark.parametrize(
    "most", [pytest.param(2, marks=pytest.mark.slow), pytest.param(999, marks=pytest.mark.long)]
)
def test_whichever_file_is_damaged_a_run_publishes_what_an_undisturbed_one_does(attempt, most):
    """At most so many files of a kind, each with another damage."""
    kinds = Counter[str]()
    sample = []
    for name in attempt.files:
        kind = PurePath(name).suffix
        kinds[kind] += 1
        if kinds[kind] <= most:
            sample.append(name)
    assert len(sample) > 2 * len(DAMAGE)
    for number, name in enumerate(sample):
        filled = (attempt.kept / opened_extract.WORK / name).stat().st_size
        damages = [*DAMAGE] if filled else OF_AN_EMPTY_FILE
        attempt.finished_after(DAMAGE[damages[number % len(damages)]], name)


def test_rows_that_vanish_while_a_run_is_at_work_stop_it(attempt, monkeypatch):
    attempt.begun_work()
    read = LocalExecutor.read

    def vanishing(executor, extract, cutting, emit):
        rows = read(executor, extract, cutting, emit)
        (cutting.folder / "claim_line.index.npy").unlink()
        return rows

    monkeypatch.setattr(LocalExecutor, "read", vanishing)
    with pytest.raises(StoreError, match=r"of claim_line \d+ rows were read, and \d+ were there"):
        replace(attempt.payer).run(attempt.extract)


def make_folder(mode, owner=-1):
    """Return what makes a work folder of some mode, of this user or another."""

    def make(work):
        work.mkdir()
        work.chmod(mode)
        os.chown(work, owner, owner)

    return make


@pytest.mark.parametrize(
    "make",
    [
        *(
            pytest.param(make_folder(mode), marks=pytest.mark.slow)
            for mode in (0o755, 0o770, 0o701)
        ),
        lambda work: work.symlink_to(work.parent.parent),
        pytest.param(
            make_folder(0o700, 12345),
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away"),
        ),
    ],
    ids=["0o755", "0o770", "0o701", "link", "of somebody else"],
)
def test_a_work_folder_that_others_may_enter_is_refused(attempt, make):
    make(attempt.fresh_work())
    with pytest.raises(StoreError, match="nobody else can access"):
        replace(attempt.payer).run(attempt.extract)
