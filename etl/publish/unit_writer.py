"""Writing one unit of the tree: a patient's block and index, or a directory shard's."""

from __future__ import annotations

import gzip
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from etl.errors import StoreError
from etl.publish import object_keys
from etl.publish.block import (
    Block,
    Line,
    Resource,
    hashed_head,
    line_head,
    rank,
    render_block,
    sort_block_lines,
)
from etl.publish.canonical_json import instant, loads, sha256, short_hash
from etl.publish.catalog import ID, CatalogEntry
from etl.publish.kept_objects import read_verified
from etl.publish.manifest import ChangeCounts, Changes
from etl.publish.reader import open_index
from etl.publish.search_index import DeletedResource, IndexRow, render_index
from etl.storage.parallel import Writer
from etl.storage.port import Store

_TYPE: Final = re.compile(r"[A-Z][A-Za-z]{1,63}")
_HEAD: Final = re.compile(
    rb'^\{"resourceType":"([A-Za-z]+)","id":"([A-Za-z0-9.-]+)","meta":'
    rb'\{"versionId":"([0-9a-f]+)","lastUpdated":"([^"]+)"',
    re.MULTILINE,
)
"""The start of a line of a block (`block.line_head`)."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Owner of a unit: one patient, or one shard of the directory.

    Attributes:
        id: id of the unit.
        patient_id: None for the directory.
        block_key: key of a block by its hash.
        index_key: key of an index by its hash.
    """

    id: str
    patient_id: str | None
    block_key: Callable[[str], str]
    index_key: Callable[[str], str]

    @classmethod
    def patient(cls, patient_id: str) -> Owner:
        """Return a patient as owner."""
        return cls(patient_id, patient_id, object_keys.patient_block, object_keys.patient_index)

    @classmethod
    def shard(cls, number: int) -> Owner:
        """Return a shard of the directory as owner."""
        return cls(str(number), None, object_keys.directory_block, object_keys.directory_index)

    @property
    def head(self) -> Mapping[str, str | int]:
        """The owner's entry in the index's head."""
        return {"shard": int(self.id)} if self.patient_id is None else {"patient": self.id}


def to_line(resource: Resource, time: str) -> Line:
    """Return a resource with its version.

    The version is the hash of the resource as it will be read, but for version and time. So equal
    versions mean equal content, wherever and whenever it was rendered.

    Args:
        resource: the resource.
        time: FHIR instant for one that states none.

    Raises:
        ValueError: type, id or `last_updated` are not what FHIR allows (a bug of the caller).
    """
    type_name, resource_id, body, stated, search = resource
    if not _TYPE.fullmatch(type_name) or not ID.fullmatch(resource_id):
        raise ValueError(f"no FHIR type and id: {type_name}/{resource_id}")
    if stated is not None:
        instant(stated)
    version = short_hash(hashed_head(type_name, resource_id), body)
    values = loads(search, "search values")
    row = IndexRow(type_name, resource_id, version, stated or time, stated is not None, values)
    return Line(row, body, search)


def content_hash(lines: Sequence[Line]) -> str:
    """Return the hash of a unit's content, without times that were not stated.

    Args:
        lines: in block order.
    """
    chunks = [b"%d" % object_keys.FORMAT]
    for row, _, search in lines:
        stated_time = row.last_updated if row.stated else ""
        chunks.append(f"\n{row.type} {row.id} {row.version} {stated_time} ".encode())
        chunks.append(search)
    return short_hash(b"".join(chunks))


@dataclass(frozen=True, slots=True)
class PreviousUnit:
    """Present and earlier content of a unit.

    Attributes:
        states: (type, id) -> version, lastUpdated, whether it was stated.
        deleted: what had been retracted already.
    """

    states: Mapping[tuple[str, str], tuple[str, str, bool]]
    deleted: Sequence[DeletedResource]


def read_previous_unit(store: Store, unit: CatalogEntry | None) -> PreviousUnit:
    """Read the previous content of a unit from its index."""
    if unit is None:
        return PreviousUnit({}, ())
    index = open_index(store, unit)
    index.load("ids", "versions", "lastUpdated", "stated", "gone")
    # Read each column once: looking up single rows would cost more than everything else.
    ids, versions, stated = index.ids, index.versions, index.stated
    stamps, numbers = index.last_updated.values, index.last_updated.rows
    known_resources = {
        (name, ids[row]): (versions[row], stamps[numbers[row][0]], stated[row])
        for name, rows in index.types.items()
        for row in rows
    }
    return PreviousUnit(known_resources, index.deleted)


def recover_previous_unit(store: Store, unit: CatalogEntry | None) -> PreviousUnit:
    """Read a unit's previous content from its index, or else from its block.

    If both are missing or damaged, all its resources count as new, and the record of earlier
    retractions is lost.
    """
    try:
        return read_previous_unit(store, unit)
    except StoreError:
        if unit is None or unit.block is None:
            return PreviousUnit({}, ())
    try:
        text = gzip.decompress(read_verified(store, unit.block))
    except (StoreError, OSError, EOFError, zlib.error):
        return PreviousUnit({}, ())
    states = {
        (kind.decode(), resource_id.decode()): (version.decode(), stamp.decode(), False)
        for kind, resource_id, version, stamp in _HEAD.findall(text)
    }
    return PreviousUnit(states, ())


def write_unit(
    store: Store,
    writer: Writer,
    owner: Owner,
    lines: Iterable[Line],
    previous: CatalogEntry | None,
    run_time: str,
    *,
    earlier: PreviousUnit | None = None,
    is_lost: bool = False,
) -> tuple[CatalogEntry, Changes]:
    """Write the block and index of a unit, unless it is unchanged.

    A unit without lines is retracted: it has no block any more, and an index that says what there
    was.

    Args:
        store: where the previous index is read from.
        writer: where new objects go.
        owner: patient or directory shard that the unit is of.
        lines: everything that is in it now. What has no stated time has its own only if it did not
            have this content before, and never an earlier one than its content before.
        previous: its row in the release that the run started from.
        run_time: instant of the run: the time of what is retracted.
        earlier: what was there, if that is not in the previous index.
        is_lost: whether the previous block or index is not in the store any more.

    Returns:
        The unit's new row, and what changed.

    Raises:
        ValueError: two resources have one type and id (a bug of the caller).
    """
    ordered = sort_block_lines(lines)
    present = _resource_names(ordered)
    content = content_hash(ordered) if ordered else ""
    if previous is not None and previous.content == content and not is_lost:
        return previous, Changes()
    if earlier is None:
        earlier = (
            recover_previous_unit(store, previous)
            if is_lost
            else read_previous_unit(store, previous)
        )
    resources = _count_changes(ordered, earlier, present)
    if earlier.states:
        ordered = [_keep_time(line, earlier) for line in ordered]
    rows = [line.row for line in ordered]
    block = render_block(ordered, owner.patient_id) if ordered else Block(b"", ())
    block_key = owner.block_key(sha256(block.data)) if ordered else None
    if block_key is not None and (is_lost or previous is None or previous.block != block_key):
        writer.put(block_key, block.data)
    head = {**owner.head, "block": block_key, "bytes": len(block.data)}
    index = render_index(head, block.parts, rows, _deleted_resources(earlier, present, run_time))
    index_key = owner.index_key(sha256(index))
    writer.put(index_key, index)
    unit = CatalogEntry(
        owner.id,
        index_key,
        len(index),
        block_key,
        len(block.data),
        content,
        dict(Counter(row.type for row in rows)),
        max({row.last_updated for row in rows}, key=instant) if rows else "",
        None if rows else run_time,
    )
    if unit == previous:  # it was lost, and is what it was
        return unit, Changes()
    return unit, Changes(_classify_change(previous, unit), resources)


def _classify_change(previous: CatalogEntry | None, current: CatalogEntry) -> ChangeCounts:
    if current.block is None:
        return ChangeCounts(retracted=1)
    if previous is None or previous.block is None:
        return ChangeCounts(added=1)
    return ChangeCounts(changed=1)


def body_of(row: IndexRow, text: bytes) -> bytes:
    """Return the body of a line that was read from a block: what `Resource.body` was."""
    return text[len(line_head(row)) :]


def _keep_time(line: Line, previous: PreviousUnit) -> Line:
    """Keep a line's earlier time if its source states none."""
    row = line.row
    version, previous_time, _ = previous.states.get((row.type, row.id), ("", "", False))
    if row.stated or not previous_time:
        return line
    if version == row.version or instant(previous_time) > instant(row.last_updated):
        return line._replace(row=row._replace(last_updated=previous_time))
    return line


def _count_changes(
    lines: Iterable[Line], previous_content: PreviousUnit, present: AbstractSet[tuple[str, str]]
) -> Mapping[str, ChangeCounts]:
    changes: dict[str, list[int]] = {}
    for line in lines:
        row = line.row
        counts = changes.setdefault(row.type, [0, 0, 0, 0])
        previous = previous_content.states.get((row.type, row.id))
        if previous is None:
            counts[0] += 1
        elif previous[0] != row.version or (row.stated and previous[1] != row.last_updated):
            counts[1] += 1
            if row.stated and instant(row.last_updated) <= instant(previous[1]):
                counts[3] += 1
    for name, resource_id in previous_content.states:
        if (name, resource_id) not in present:
            changes.setdefault(name, [0, 0, 0, 0])[2] += 1
    return {name: ChangeCounts(*counts) for name, counts in changes.items()}


def _deleted_resources(
    previous_content: PreviousUnit, present_names: AbstractSet[tuple[str, str]], run_time: str
) -> list[DeletedResource]:
    deleted = {(entry.type, entry.id): entry for entry in previous_content.deleted}
    deleted |= {
        (name, resource_id): DeletedResource(name, resource_id, run_time)
        for name, resource_id in previous_content.states
    }
    still_deleted = [entry for key, entry in deleted.items() if key not in present_names]
    return sorted(still_deleted, key=lambda entry: (rank(entry.type), entry.id))


def _resource_names(lines: Iterable[Line]) -> AbstractSet[tuple[str, str]]:
    """Return the names of resources; raise ValueError for a repeated one."""
    names = set()
    for line in lines:
        name = (line.row.type, line.row.id)
        if name in names:
            raise ValueError(f"{line.row.type}/{line.row.id} was handed in twice for one block")
        names.add(name)
    return names
