"""Nights of a small payer: extracts, settings, and a clock that a test sets."""

import atexit
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import mkdtemp

import pytest

from etl.bootstrap import opened_extract, use_cases
from etl.bootstrap.settings import read_settings
from etl.bootstrap.use_cases import Approvals
from etl.pipeline.progress import PartitionDone, ignore
from etl.publish.reader import open_current
from etl.storage.local import LocalStore
from etl.synth.extract import write_extract
from etl.synth.spec import Spec
from tests.e2e.commands import NO_SUITES, same_definitions

MEMBERS = 15
RATE = 0.3
SINCE = date(2024, 12, 31)
"""Claims of one year: there are as many kinds of them as in many."""
ANY_CHANGE = {
    "fewer_rows": 1, "fewer_claims": 1, "money_change": 1_000_000, "retracted_members": 1,
    "retracted_claims": 1, "retracted_resources": 1, "lost_columns": 1000,
}  # fmt: skip
"""Limits that let everything through: of so few members each one is a large share."""
FIRST = datetime(2026, 1, 1, 3, tzinfo=UTC)


def full(folder, day):
    """Write what the payer's system holds on a day, and return where."""
    if not folder.exists():
        write_extract(folder, Spec(MEMBERS, day=day, change_rate=RATE, since=SINCE))
    return folder


def delta(folder, day, *, whole_claims=False):
    """Write what changed on a day, and return where."""
    if not folder.exists():
        spec = Spec(
            MEMBERS,
            kind="delta",
            day=day,
            change_rate=RATE,
            whole_claims=whole_claims,
            since=SINCE,
        )
        write_extract(folder, spec)
    return folder


_FIRST_NIGHTS = {}
"""Extract, settings and time -> what a first run made of them (`Payer.begin`)."""


@dataclass
class Payer:
    """One payer's installation.

    Attributes:
        target: where it publishes.
        patch: sets the clock.
        changed: settings that are not the default.
        at: the time now.
    """

    target: Path
    patch: pytest.MonkeyPatch
    changed: Mapping[str, object] = field(default_factory=dict)
    at: datetime = FIRST

    @property
    def limits(self):
        """Limits that are not those of so small a payer."""
        return self.changed.get("limits", {})

    @property
    def settings(self):
        """What its configuration comes to."""
        return read_settings(
            None,
            target=str(self.target),
            **{
                "run": {"workers": 1, "partition_rows": 1200},
                "report": {"gx_rows": 0},
                **self.changed,
                "limits": {**ANY_CHANGE, **self.limits},
            },
        )

    def begin(self, extract):
        """Publish a first extract that many tests begin with, as `run` does, but once for all.

        The same extract, settings and time make the same bytes: each target is a copy of them.
        """
        made = (extract, repr(self.changed), self.at)
        if made not in _FIRST_NIGHTS:
            folder = Path(mkdtemp(prefix="first-night-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            replace(self, target=folder / "tree").run(extract)
            _FIRST_NIGHTS[made] = folder / "tree"
        shutil.copytree(_FIRST_NIGHTS[made], self.target)
        self._to_the_next_night()

    def _to_the_next_night(self):
        self.at += timedelta(days=1)
        self.patch.setattr(use_cases, "now", lambda: self.at)
        self.patch.setattr(opened_extract, "load_definitions", same_definitions)

    def run(self, extract, *, emit=ignore, **more):
        """Publish an extract, a day after whatever was done before."""
        self._to_the_next_night()
        return use_cases.run_extract(self.settings, extract, emit, **more)

    @property
    def release(self):
        """What readers see."""
        return open_current(LocalStore(self.target)).release

    def files(self):
        """Return everything in the target, leases and locks left out."""
        return dict(_files(self.target))


def _files(folder):
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith((".", "leases/")):
            yield name, path.read_bytes()


def blocks(release):
    """Return the key of each patient's block: equal keys are equal bytes."""
    return {unit.id: unit.block for unit in live(release)}


def live(release):
    """Return the rows of patients who have a block."""
    return [unit for unit in release.all_units() if unit.block is not None]


def make_quick(patch):
    """Have commands work at one moment, with one process and no suites."""
    patch.setattr(opened_extract, "load_definitions", same_definitions)
    patch.setattr(use_cases, "now", lambda: FIRST)
    patch.setenv("CPCDS_RUN__WORKERS", "1")
    for name, value in NO_SUITES.items():
        patch.setenv(name, value)


def small_delta(folder, as_of, **files):
    """Write a delta of some files, and return where."""
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    (folder / "manifest.json").write_text(f'{{"kind": "delta", "as_of": "{as_of}"}}')
    return folder


def worked_on(payer, extract):
    """Run; return how many members were worked on, and of how many the outcome was known."""
    seen = []
    payer.run(extract, emit=seen.append, approvals=Approvals(rekey=True))
    done = [event for event in seen if isinstance(event, PartitionDone)]
    known = sum(event.reused for event in done)
    return sum(event.members for event in done) - known, known
