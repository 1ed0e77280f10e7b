"""From a folder to partitions that can be worked on, resuming what an earlier run left."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from etl.columns.dates import day_number
from etl.errors import StoreError
from etl.pipeline.definitions import Definitions
from etl.pipeline.events import Emit, StageBegan
from etl.pipeline.workers import Workers
from etl.sources import Extract, Partitions, open_extract, partition
from etl.sources.read_extract import MAX_PARTITIONS

_ROW_BYTES: Final = 120
"""About how many bytes a row of input has, as text."""
_PACKED: Final = 8
"""About how much smaller a compressed file is than its text."""


@dataclass(frozen=True, slots=True)
class Read:
    """An extract, cut by member.

    Attributes:
        extract: what it is.
        partitions: its rows.
        work: folder of this run.
        as_of: its day, in days since 1970; None where nobody said.
    """

    extract: Extract
    partitions: Partitions
    work: Path
    as_of: int | None


def open_with(folder: Path, definitions: Definitions, layout: str | None, emit: Emit) -> Extract:
    """Return the extract in a folder; nothing of it is read but headers and hashes."""
    emit(StageBegan("read"))
    return open_extract(folder, definitions.layouts, layout=layout, emit=emit)


def read(
    extract: Extract,
    work: Path,
    definitions: Definitions,
    workers: Workers,
    *,
    partition_rows: int,
    emit: Emit,
    digests: bool = False,
) -> Read:
    """Return an extract cut by member, reading it unless an earlier run of the same did.

    Args:
        extract: what to read.
        work: folder for what is in progress; this run's own folder is made inside it.
        definitions: rules and mappings; other ones make another run.
        workers: where it is read, and worked on after that.
        partition_rows: about how many rows to a partition.
        emit: takes events.
        digests: whether to keep a digest of every row as well.
    """
    count = _partition_count(((file.bytes, file.gzipped) for file in extract.files), partition_rows)
    workers.begin(count)
    own = work / fingerprint(extract, definitions, count)[:16]
    try:
        partitions = Partitions.resume(own)
        if digests and not partitions.has_digests:
            raise StoreError(f"{own} was read without digests")
    except StoreError:
        partitions = partition(
            extract, own, partitions=count, digests=digests, spread=workers, emit=emit
        )
    as_of = extract.as_of
    return Read(extract, partitions, own, None if as_of is None else day_number(as_of.isoformat()))


def fingerprint(extract: Extract, definitions: Definitions, partitions: int) -> str:
    """Return a hash of all that a run's result hangs on, but for the clock and the target."""
    facts = {
        "files": [[file.name, file.sha256] for file in extract.files],
        "layout": extract.layout.name,
        "kind": extract.kind,
        "as_of": str(extract.as_of),
        "definitions": definitions.fingerprint,
        "partitions": partitions,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def expected_partitions(folder: Path, partition_rows: int) -> int:
    """Return about how many partitions an extract will make, before anything of it is read."""
    try:
        files = [path for path in folder.iterdir() if path.is_file()]
        sizes = ((path.stat().st_size, path.suffix == ".gz") for path in files)
        return _partition_count(sizes, partition_rows)
    except OSError:
        return 1


def _partition_count(files: Iterable[tuple[int, bool]], partition_rows: int) -> int:
    """Return how many partitions files make; of each its size and whether it is gzipped."""
    size = sum(stored * (_PACKED if gzipped else 1) for stored, gzipped in files)
    return min(MAX_PARTITIONS, 1 + size // (_ROW_BYTES * partition_rows))
