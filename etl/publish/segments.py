"""Segments: the search columns of a whole directory, for searches that follow references.

A segment is made of the indexes of a fixed range of directory shards and of nothing else, so that
its bytes follow from them. For each type it has the keys of its rows, and for each search column
pairs of a value and a row, sorted by value: binary, so that a reader of a few columns fetches
those, and compares values and not rows. A column of a modifier, `parameter:modifier`, is of texts.
docs/published-tree.md has the format to the byte.
"""

from __future__ import annotations

import hashlib
import re
import sys
import zlib
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import chain
from typing import Final, NamedTuple

from etl.errors import StoreError
from etl.publish import object_keys
from etl.publish.canonical_json import JSON, dumps, loads, sha256
from etl.publish.catalog import CatalogEntry
from etl.publish.kept_objects import ObjectRef
from etl.publish.search_index import Index, IndexColumn

SHARDS: Final = 32
"""Most shards of one segment: some 16,000 resources."""

KEYS: Final = "_keys"
"""Section with the key of each row of a type."""

STAMPS: Final = "_lastUpdated"
"""Column of `meta.lastUpdated`."""

_CHECKSUM_KEY: Final = "check"
_REFERENCE: Final = re.compile(
    "(?:Endpoint|HealthcareService|InsurancePlan|Location|Organization|OrganizationAffiliation"
    r"|Practitioner|PractitionerRole)/[A-Za-z0-9\-.]{1,64}"
)
"""A reference to a type of Plan-Net; a name such as `Medical/Surgical` is a text."""


@dataclass(frozen=True, slots=True)
class SegmentEntry(ObjectRef):
    """One segment, as a manifest names it.

    Attributes:
        head: bytes of its first line, which says where the columns are.
    """

    head: int


class SegmentColumn(NamedTuple):
    """One column of one type in a segment.

    Attributes:
        values: the distinct values in order: texts, or keys of references.
        codes: of each pair the number of its value, ascending.
        rows: of each pair its row, the type's first being 0; ascending within a value.
    """

    values: Sequence[str] | array[int]
    codes: array[int]
    rows: array[int]


def reference_key(reference: str) -> int:
    """Return the key of a reference `Type/id`: 64 bits of its hash."""
    return int.from_bytes(hashlib.sha256(reference.encode()).digest()[:8])


def shard_range(number: int, shards: int) -> range:
    """Return the shard numbers of a segment, given the number of shards."""
    size = min(SHARDS, shards)
    return range(number * size, (number + 1) * size)


def segment_count(shards: int) -> int:
    """Return how many segments a directory with so many shards has."""
    return max(1, shards // SHARDS)


def render_segment(indexes: Sequence[tuple[int, Index]]) -> bytes:
    """Serialize a segment.

    Args:
        indexes: number and index of each shard that is not empty, in order.
    """
    runs: dict[str, list[list[int]]] = {}
    keys: dict[str, array[int]] = {}
    columns: dict[str, dict[str, list[int]]] = {}
    for number, index in indexes:
        for type_name, rows in index.types.items():
            type_keys = keys.setdefault(type_name, array("Q"))
            first = len(type_keys)
            runs.setdefault(type_name, []).append([number, len(rows)])
            ids = index.ids
            type_keys.extend(reference_key(f"{type_name}/{ids[row]}") for row in rows)
            stamps = index.last_updated
            stamps = IndexColumn(stamps.values, stamps.rows[rows.start : rows.stop])
            _add_rows(columns.setdefault(f"{type_name}/{STAMPS}", {}), stamps, first)
            for parameter in index.parameters(type_name):
                column = index.search(type_name, parameter)
                _add_rows(columns.setdefault(f"{type_name}/{parameter}", {}), column, first)
    sections: dict[str, bytes] = {
        f"{type_name}/{KEYS}": _pack(type_keys) for type_name, type_keys in keys.items()
    }
    references = set()
    for name, rows_by_value in columns.items():
        if ":" not in name and all(map(_REFERENCE.fullmatch, rows_by_value)):
            references.add(name)
            sections[name] = _key_column(rows_by_value)
        else:
            sections[name] = _text_column(rows_by_value)
    offset = 0
    positions = {}
    for name in sorted(sections):
        data = sections[name]
        positions[name] = [offset, len(data), zlib.crc32(data)]
        offset += len(data)
    head = {
        "columns": positions,
        "format": object_keys.FORMAT,
        "references": sorted(references),
        "types": dict(sorted(runs.items())),
    }
    head_line = dumps({**head, _CHECKSUM_KEY: zlib.crc32(dumps(head))})
    return head_line + b"\n" + b"".join(sections[name] for name in sorted(sections))


def _add_rows(rows_by_value: dict[str, list[int]], column: IndexColumn, first: int) -> None:
    """Add the rows of each value of a shard's column, starting at a row number."""
    rows_by_number: list[list[int]] = [[] for _ in column.values]
    for row, numbers in enumerate(column.rows, first):
        for number in numbers if len(numbers) < 2 else dict.fromkeys(numbers):
            rows_by_number[number].append(row)
    for value, rows in zip(column.values, rows_by_number, strict=True):
        if rows:
            existing_rows = rows_by_value.setdefault(value, rows)
            if existing_rows is not rows:
                existing_rows += rows


class Segment:
    """The head of a segment, and what its sections mean.

    Args:
        object_name: its name in messages.
        head: its first line.
        size: bytes of the whole object, as the manifest states it.

    Raises:
        StoreError: the head is damaged, or of another segment.
    """

    def __init__(self, label: str, head: bytes, size: int) -> None:
        self._what = label
        self._base = len(head)
        document: JSON = loads(head, label)
        checksum = document.pop(_CHECKSUM_KEY, None)
        if checksum != zlib.crc32(dumps(document)):
            raise StoreError(f"{label}: its head is damaged; run verify")
        self._columns: Mapping[str, Sequence[int]] = document["columns"]
        if self._base + sum(length for _, length, _ in self._columns.values()) != size:
            raise StoreError(f"{label} is another segment than the manifest names; run verify")
        self._references = frozenset(document["references"])
        self._runs: Mapping[str, Sequence[tuple[int, int]]] = document["types"]

    def count(self, kind: str) -> int:
        """Return how many rows a type has."""
        return sum(rows for _, rows in self._runs.get(kind, ()))

    def shard_of(self, kind: str, row: int) -> tuple[int, int]:
        """Return the shard of a row, and the row's number among the shard's rows."""
        for number, rows in self._runs[kind]:
            if row < rows:
                return number, row
            row -= rows
        raise StoreError(f"{self._what} has no such row; run verify")

    def section_span(self, name: str) -> tuple[int, int] | None:
        """Return start and length of a section in the object; None if missing."""
        position = self._columns.get(name)
        return None if position is None else (self._base + position[0], position[1])

    def keys(self, kind: str, data: bytes) -> array[int]:
        """Return the key of each row of a type, from its section `_keys`."""
        return _unpack("Q", self._verify_section(f"{kind}/{KEYS}", data))

    def column(self, name: str, data: bytes) -> SegmentColumn:
        """Parse the section of a column."""
        data = self._verify_section(name, data)
        pairs, size = _unpack("I", data[:8])
        end = 8 + 8 * pairs
        codes, rows = (
            _unpack("I", data[8 : 8 + 4 * pairs]),
            _unpack("I", data[8 + 4 * pairs : end]),
        )
        values = data[end : end + size]
        if name in self._references:
            return SegmentColumn(_unpack("Q", values), codes, rows)
        return SegmentColumn(loads(values, self._what), codes, rows)

    def _verify_section(self, name: str, data: bytes) -> bytes:
        if zlib.crc32(data) != self._columns[name][2]:
            raise StoreError(f"{self._what}: column {name} is damaged; run verify")
        return data


def write_segments(
    shards: Sequence[CatalogEntry | None],
    previous: Sequence[CatalogEntry | None],
    previous_segments: Sequence[SegmentEntry | None],
    lost_keys: AbstractSet[str],
    open_shard: Callable[[CatalogEntry], Index],
    put: Callable[[str, bytes], None],
) -> list[SegmentEntry | None]:
    """Write the segments of a directory; reuses those of unchanged shards.

    Args:
        shards: the directory's shards by number.
        previous: those of the release that the run started from.
        previous_segments: its segments; empty if it has none.
        lost_keys: keys of segments that the store has lost.
        open_shard: opens the index of a shard.
        put: writes an object.

    Returns:
        The segments by number; None if all shards are empty.
    """
    reusable = previous_segments if len(previous) == len(shards) else ()
    segments: list[SegmentEntry | None] = []
    for number in range(segment_count(len(shards))):
        numbers = shard_range(number, len(shards))
        units = [shards[shard] for shard in numbers]
        entry = reusable[number] if number < len(reusable) else None
        is_same = (
            _index_keys(units) == _index_keys(previous[shard] for shard in numbers)
            if entry
            else False
        )
        if entry is None or not is_same or entry.key in lost_keys:
            entry = _write_segment(numbers, units, open_shard, put)
        segments.append(entry)
    return segments


def _write_segment(
    numbers: range,
    units: Sequence[CatalogEntry | None],
    open_shard: Callable[[CatalogEntry], Index],
    put: Callable[[str, bytes], None],
) -> SegmentEntry | None:
    opened = [
        (number, open_shard(unit))
        for number, unit in zip(numbers, units, strict=True)
        if unit is not None and unit.block is not None
    ]
    if not opened:
        return None
    data = render_segment(opened)
    digest = sha256(data)
    key = object_keys.directory_segment(digest)
    put(key, data)
    return SegmentEntry(key, digest, len(data), data.index(b"\n") + 1)


def _index_keys(units: Iterable[CatalogEntry | None]) -> list[str | None]:
    return [None if unit is None or unit.block is None else unit.index for unit in units]


def _text_column(rows_by_value: Mapping[str, Sequence[int]]) -> bytes:
    values = sorted(rows_by_value)
    return _encode_pairs([rows_by_value[value] for value in values], dumps(values))


def _key_column(rows_by_value: Mapping[str, Sequence[int]]) -> bytes:
    by_key: dict[int, list[int]] = {}
    for value, rows in rows_by_value.items():
        by_key.setdefault(reference_key(value), []).extend(rows)
    keys = sorted(by_key)
    return _encode_pairs([sorted(by_key[key]) for key in keys], _pack(array("Q", keys)))


def _encode_pairs(rows_by_code: Sequence[Sequence[int]], values: bytes) -> bytes:
    codes = array("I", [code for code, rows in enumerate(rows_by_code) for _ in rows])
    rows = array("I", list(chain.from_iterable(rows_by_code)))
    sizes = array("I", [len(rows), len(values)])
    return b"".join((_pack(sizes), _pack(codes), _pack(rows), values))


def _pack(numbers: array[int]) -> bytes:
    """Return numbers as little-endian bytes."""
    if sys.byteorder == "big":
        numbers = array(numbers.typecode, numbers)
        numbers.byteswap()
    return numbers.tobytes()


def _unpack(code: str, data: bytes) -> array[int]:
    numbers: array[int] = array(code)
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
