"""The context of a run: the input of every step of a use case."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from etl.jobs import ALONE, PreparedRunner
from etl.pipeline.definitions import Definitions
from etl.pipeline.executor import Executor, Target
from etl.pipeline.progress import Emit
from etl.pipeline.release_limits import ReleaseLimits
from etl.publish.bulk_files import BulkOptions
from etl.publish.lease import Lease
from etl.publish.reader import Current
from etl.publish.signatures import SigningKey
from etl.sources import Extract
from etl.storage.port import Store


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of every use case, from the settings.

    Attributes:
        partition_rows: about how many rows to a partition.
        gx_rows: about how many rows of the largest file the suites check; 0 to run none.
        small_cells: sums of money over at most so many claims are withheld; 0 to withhold none.
    """

    partition_rows: int
    gx_rows: int = 0
    small_cells: int = 0


@dataclass(frozen=True, slots=True)
class RunContext:
    """The context of a run: the same for all of its steps.

    Attributes:
        extract: what was delivered.
        definitions: rules and mappings.
        work: folder for what is in progress; every run has a folder of its own in it.
        executor: where the extract is read and its partitions are processed.
        when: when the run began.
        options: those of the settings.
        emit: takes events.
        suites: where the suites are run.
    """

    extract: Extract
    definitions: Definitions
    work: Path
    executor: Executor
    when: datetime
    options: RunOptions
    emit: Emit
    suites: PreparedRunner = ALONE


@dataclass(frozen=True, slots=True)
class Publication:
    """The target of a run, the release before it, and the limits against that.

    Attributes:
        target: the store, as every process opens it.
        store: the store, open.
        base: what readers see now, and what of it is to be made again.
        limits: what may be missing or moved against the previous release.
        lease: the run's lease on the target; None where nothing prunes it.
        bulk: how bulk files are made; None to make none.
        keep_rows: whether deltas are to follow a full extract; after a delta they always may.
        key: signs the release; None to sign nothing.
        reuses: whether members of whom nothing changed stay as the release before has them.
        keep_places: whether the release is to keep which rows it was made of, where it does not
            keep the rows themselves.
    """

    target: Target
    store: Store
    base: Current
    limits: ReleaseLimits
    lease: Lease | None = None
    bulk: BulkOptions | None = None
    keep_rows: bool = False
    key: SigningKey | None = None
    reuses: bool = True
    keep_places: bool = False
